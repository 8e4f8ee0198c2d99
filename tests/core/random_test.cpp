#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>

namespace gta {
namespace {

// Every checkpoint, ablation and comparison of seeds rests on these: a change here is a change of every initial model.
TEST(RandomStream, GivesTheNumbersItAlwaysGave) {
  const RandomStream stream(1234, "model.embed_tokens.weight");
  const uint64_t bits[] = {0x517eee5c812e5255u, 0xebb42a7e2dc05dfbu, 0x2c30833d4af319a1u, 0xec80f3a7efce9a0fu};
  const double uniforms[] = {0x1.45fbb97204b94p-2, 0x1.d76854fc5b80bp-1, 0x1.618419ea5798cp-3, 0x1.d901e74fdf9d3p-1};
  const double normals[] = {-0x1.25cc7509a952ep+0, 0x1.1c38d1d04a378p-2, -0x1.1284c0141f5b4p-1, -0x1.e49d8e455f1a6p-3};
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
