#include "core/gemm.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

struct Sizes {
  int64_t m, n, k;
};
// Tails of vectors and of tiles, and one product of several tiles.
const Sizes kSizes[] = {{1, 1, 1}, {1, 7, 3}, {3, 1, 17}, {7, 17, 1}, {17, 33, 65}, {65, 3, 33}, {1, 130, 70}, {260, 390, 20}, {33, 65, 700}};

TEST(Gemm, IsTheNaiveLoopForEveryTransposePitchAndMode) {
  for (const auto& [m, n, k] : kSizes)
    for (DType dtype : {DType::F64, DType::F32})
      for (Transpose ta : {Transpose::No, Transpose::Yes})
        for (Transpose tb : {Transpose::No, Transpose::Yes})
          for (GradientMode mode : {GradientMode::Overwrite, GradientMode::Accumulate, GradientMode::Ignore}) {
            const std::vector<double> a = random_values("a", m * k), b = random_values("b", k * n), before = random_values("c", m * n);
            const auto shape = [](Transpose t, int64_t r, int64_t c) { return t == Transpose::No ? Shape{r, c} : Shape{c, r}; };
            Guarded ga(shape(ta, m, k), dtype), gb(shape(tb, k, n), dtype), gc({m, n}, dtype);
            ga.set(a);
            gb.set(b);
            if (mode == GradientMode::Accumulate) gc.set(before);
            gemm({.a = ga.tensor(), .transpose_a = ta, .b = gb.tensor(), .transpose_b = tb, .c = gc.tensor(), .mode = mode});
            EXPECT_TRUE(ga.untouched() && gb.untouched() && gc.surroundings_untouched()) << m << " " << n << " " << k;
            if (mode == GradientMode::Ignore) {
              EXPECT_TRUE(gc.untouched());
              continue;
            }
            std::vector<double> expected(m * n);
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double& sum = expected[i * n + j];
                if (mode == GradientMode::Accumulate) sum = before[i * n + j];
                for (int64_t p = 0; p < k; ++p) sum += (ta == Transpose::No ? a[i * k + p] : a[p * m + i]) * (tb == Transpose::No ? b[p * n + j] : b[j * k + p]);
              }
            // Float32: the square root of k roundings of 6e-8, with room.
            EXPECT_TRUE(near(to_doubles(gc.tensor()), expected, dtype == DType::F64 ? 1e-13 : 3e-6)) << m << " " << n << " " << k;
          }
}

TEST(Gemm, SameBitsForAnyNumberOfThreads) {
  const ThreadCount restore;
  for (const auto& [m, n, k] : {Sizes{1, 1, 5000}, {7, 9, 3000}, {64, 64, 2000}, {300, 400, 333}, {1, 700, 900}}) {
    const Tensor a = to_tensor({m, k}, random_values("a", m * k), DType::F32), b = to_tensor({n, k}, random_values("b", n * k), DType::F32);
    std::vector<char> first;
    for (int count : {1, 2, 3, 4}) {
      set_threads(count);
      const Tensor c = Tensor::empty({m, n}, DType::F32, Device{});
      gemm({.a = a, .b = b, .transpose_b = Transpose::Yes, .c = c});
      if (first.empty()) first = to_bytes(c);
      EXPECT_TRUE(to_bytes(c) == first) << m << " " << n << " " << k << ", " << count << " threads";
    }
  }
}

TEST(Gemm, RefusesShapesAndDtypesThatDoNotFit) {
  const auto zeros = [](int64_t rows, int64_t columns, DType dtype = DType::F32) { return Tensor::zeros({rows, columns}, dtype, {}); };
  const auto refusal = [](const Tensor& a, const Tensor& b, const Tensor& c) -> std::string {
    try {
      gemm({.a = a, .b = b, .c = c});
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was refused";
  };
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5), zeros(2, 5)), "nothing was refused");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(4, 5), zeros(2, 5)), "[gemm] (2, 3) times (4, 5) does not give float32 (2, 5)");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 4), zeros(2, 5)), "[gemm] (2, 3) times (3, 4) does not give float32 (2, 5)");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5), zeros(3, 5)), "[gemm] (2, 3) times (3, 5) does not give float32 (3, 5)");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5, DType::F64), zeros(2, 5)), "[gemm] expected one dtype, got float32 times float64 to float32");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5), zeros(2, 5, DType::F64)), "[gemm] expected one dtype, got float32 times float32 to float64");
}

}  // namespace
}  // namespace gta::testing
