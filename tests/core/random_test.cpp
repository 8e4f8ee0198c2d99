#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>

namespace gta {
namespace {

// Every checkpoint, ablation and comparison of seeds rests on these: a change here is a change of every initial model.
TEST(RandomStream, GivesTheNumbersItAlwaysGave) {
  const RandomStream stream(1234, "model.embed_tokens.weight");
  const uint64_t bits[] = {0xd9405e7d05c3e76bu, 0x9a5b4f02ad8b4ad4u, 0x7e3a856e8b364d24u, 0x32479e69d29dc7d0u};
  const double uniforms[] = {0x1.b280bcfa0b87cp-1, 0x1.34b69e055b169p-1, 0x1.f8ea15ba2cd92p-2, 0x1.923cf34e94eep-3};
  const double normals[] = {-0x1.1b61f22243bd1p-2, 0x1.21bfd90099e8fp-1, -0x1.e4ac171ff181ep-1, -0x1.99f8bfa3acd4ap+0};
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(stream.bits(i), bits[i]);
    EXPECT_EQ(stream.uniform(i), uniforms[i]);
    EXPECT_EQ(stream.normal(i), normals[i]);
  }
}

TEST(RandomStream, SeedsAndNamesGiveUnrelatedStreams) {
  const RandomStream stream(1, "layers.1"), other_seed(2, "layers.1"), other_name(1, "layers.2");
  double with_seed = 0, with_name = 0, with_next = 0;
  const int count = 20000;
  for (int i = 0; i < count; ++i) {
    with_seed += stream.normal(i) * other_seed.normal(i) / count;
    with_name += stream.normal(i) * other_name.normal(i) / count;
    with_next += stream.normal(i) * stream.normal(i + 1) / count;
  }
  for (double correlation : {with_seed, with_name, with_next}) EXPECT_NEAR(correlation, 0, 5 / std::sqrt(count));
}

TEST(RandomStream, NormalNumbersHaveTheMomentsOfTheNormalDistribution) {
  const RandomStream stream(9, "moments");
  const int count = 100000;
  double first = 0, second = 0, fourth = 0, uniform = 0;
  for (int i = 0; i < count; ++i) {
    const double x = stream.normal(i), u = stream.uniform(i);
    first += x / count;
    second += x * x / count;
    fourth += x * x * x * x / count;
    uniform += u / count;
    EXPECT_TRUE(u >= 0 && u < 1);
  }
  // Five standard errors.
  EXPECT_NEAR(first, 0, 5 / std::sqrt(count));
  EXPECT_NEAR(second, 1, 5 * std::sqrt(2.0 / count));
  EXPECT_NEAR(fourth, 3, 5 * std::sqrt(96.0 / count));
  EXPECT_NEAR(uniform, 0.5, 5 / std::sqrt(12.0 * count));
}

}  // namespace
}  // namespace gta
