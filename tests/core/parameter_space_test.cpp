#include "core/parameter_space.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

void declare(ParameterSpace& space, bool more) {
  if (more) space.add({{"first", {5, 3}, Initializer::normal(1)}});
  space.add({{"q", {3, 7}, Initializer::normal(0.5)}, {"k", {2, 7}, Initializer::normal(0.5)}});
  space.add({{"norm", {7}, Initializer::ones()}});
  if (more) space.add({{"bias", {3}, Initializer::zeros()}});
  space.add({{"large", {300, 100}, Initializer::normal(0.02)}});
}

TEST(ParameterSpace, WeightsStartAt64BytesAndMergedParametersAreAdjacent) {
  ParameterSpace space;
  declare(space, true);
  const Weight* late = space.add({{"late", {1, 7}, Initializer::zeros()}});
  for (const char* name : {"first", "q", "norm", "bias", "large", "late"})
    EXPECT_EQ(space.find(name).offset % 16, 0) << name;
  EXPECT_EQ(space.find("k").offset, space.find("q").offset + 21);
  EXPECT_EQ(space.parameter_count(), 15 + 21 + 14 + 7 + 3 + 30000 + 7);
  for (DType dtype : {DType::F32, DType::F64}) {
    ParameterSpace fresh;
    declare(fresh, true);
    const Weight* w = fresh.add({{"a", {2, 3}, Initializer::zeros()}, {"b", {4, 3}, Initializer::zeros()}});
    fresh.allocate(dtype, {}, SpaceUse::Training);
    EXPECT_EQ(w->shape, (Shape{6, 3}));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(w->value.raw_data()) % 64, 0u);
    EXPECT_EQ(fresh.view(fresh.values(ParameterKind::Matrix), fresh.find("b")).raw_data(),
              w->value.row_slice(2, 4).raw_data());
    EXPECT_EQ(fresh.view(fresh.gradients(ParameterKind::Matrix), fresh.find("b")).raw_data(),
              w->gradient.row_slice(2, 4).raw_data());
  }
  EXPECT_FALSE(late->value.defined());
}

TEST(ParameterSpace, RefusesWhatItCannotHold) {
  ParameterSpace space;
  declare(space, true);
  EXPECT_THROW(space.add({{"q", {1, 1}, Initializer::zeros()}}), Error) << "declared twice";
  EXPECT_THROW(space.add({{"x", {1, 1}, Initializer::zeros()}, {"x", {1, 1}, Initializer::zeros()}}), Error)
      << "twice in one weight";
  EXPECT_THROW(space.add({{"y", {2, 3}, Initializer::zeros()}, {"z", {2, 4}, Initializer::zeros()}}), Error)
      << "other columns";
  EXPECT_THROW(space.add({{"v", {3}, Initializer::zeros()}, {"m", {2, 3}, Initializer::zeros()}}), Error)
      << "other rank";
  EXPECT_THROW(space.add({{"t", {2, 3, 4}, Initializer::zeros()}}), Error) << "rank 3";
  EXPECT_THROW(space.add({{"s", {}, Initializer::zeros()}}), Error) << "rank 0";
  EXPECT_THROW(space.add({{"e", {0, 3}, Initializer::zeros()}}), Error) << "no elements";
  EXPECT_THROW(space.add({}), Error);
  EXPECT_THROW(space.find("nothing"), Error);
  EXPECT_THROW(space.initialize(1), Error) << "before allocate";
  space.allocate(DType::F32, {}, SpaceUse::Training);
  EXPECT_THROW(space.add({{"after", {1, 1}, Initializer::zeros()}}), Error);
}

TEST(ParameterSpace, InitialValuesDependOnSeedAndNameAlone) {
  const auto values = [](bool more, uint64_t seed, DType dtype, const char* name) {
    ParameterSpace space;
    declare(space, more);
    space.allocate(dtype, {}, SpaceUse::Inference);
    space.initialize(seed);
    const Parameter& p = space.find(name);
    return to_doubles(space.view(space.values(p.kind), p));
  };
  for (const char* name : {"q", "k", "norm", "large"}) {
    EXPECT_EQ(values(true, 5, DType::F32, name), values(false, 5, DType::F32, name))
        << "with other parameters around it";
    EXPECT_EQ(values(true, 5, DType::F32, name), values(true, 5, DType::F64, name)) << "in another dtype";
  }
  EXPECT_NE(values(true, 5, DType::F32, "q"), values(true, 6, DType::F32, "q"));
  const std::vector<double> q = values(true, 5, DType::F32, "q"), k = values(true, 5, DType::F32, "k");
  EXPECT_FALSE(std::equal(k.begin(), k.end(), q.begin())) << "two names, one stream";
  EXPECT_EQ(values(true, 5, DType::F32, "norm"), std::vector<double>(7, 1.0));
  EXPECT_EQ(values(true, 5, DType::F32, "bias"), std::vector<double>(3, 0.0));
  double mean = 0, squares = 0;
  const std::vector<double> large = values(true, 5, DType::F32, "large");
  for (double v : large) {
    mean += v / 30000;
    squares += v * v / 30000;
  }
  // Five standard errors of 30000 numbers of deviation 0.02.
  EXPECT_NEAR(mean, 0, 5 * 0.02 / std::sqrt(30000));
  EXPECT_NEAR(std::sqrt(squares), 0.02, 5 * 0.02 / std::sqrt(60000));
}

TEST(ParameterSpace, PaddingIsZero) {
  ParameterSpace space;
  declare(space, true);
  space.allocate(DType::F32, {}, SpaceUse::Training);
  space.initialize(3);
  const std::vector<float> flat = space.values(ParameterKind::Matrix).to_vector<float>();
  EXPECT_EQ(flat[15], 0) << "between first (15 elements) and q";
  for (int64_t i = 16 + 35; i < 16 + 48; ++i) EXPECT_EQ(flat[i], 0) << i;
}

}  // namespace
}  // namespace gta::testing
