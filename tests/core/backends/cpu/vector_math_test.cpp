#include "core/backends/cpu/vector_math.h"

#include <gtest/gtest.h>

#include <limits>

namespace gta::cpu {
namespace {

TEST(FastExp, IsTheExponentialWhereFloat32HasOne) {
  double worst = 0;
  for (float x = -86.9f; x < 87.9f; x += 0.0137f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(fast_exp(x)) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
}

TEST(FastExp, BeyondThatItStaysAtTheEnds) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (float x : {-87.0f, -88.0f, -200.0f, -1e30f, -infinity}) EXPECT_NEAR(fast_exp(x), 0, 2e-38) << x;
  for (float x : {88.0f, 89.0f, 200.0f, 1e30f, infinity}) EXPECT_NEAR(fast_exp(x) / std::exp(88.0), 1, 1e-6) << x;
  EXPECT_EQ(sigmoid(200.0f), 1.0f);
  EXPECT_NEAR(sigmoid(-200.0f), 0, 1e-37);
}

TEST(FastExp, NotANumberStaysNotANumber) {
  for (const char* bits : {"", "0x5e5e", "0x3fffff"})
    for (float sign : {1.0f, -1.0f}) EXPECT_TRUE(std::isnan(fast_exp(sign * std::nanf(bits)))) << bits;
}

}  // namespace
}  // namespace gta::cpu
