// Scaling: points made by a known law give the law back; what the sizes cannot say is said.
#include "launch/compare/scaling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"

namespace gta {
namespace {

const statistics::PowerLaw kLaw{1.7, 60, 0.12, 0};

// A variant that needs 1 / gain of the compute for the same loss. noise: of each seed and size, and `shared` of a seed.
std::vector<ScalingPoint> points_of(const std::string& variant, double gain, int64_t sizes, int64_t seeds,
                                    double noise = 0, double apart = 4) {
  std::vector<ScalingPoint> points;
  for (int64_t i = 0; i < sizes; ++i) {
    const double compute = 1e15 * std::pow(apart, static_cast<double>(i));
    ScalingPoint point{variant, std::to_string(i), compute, 1e6 * std::sqrt(compute / 1e15), {}};
    for (int64_t seed = 1; seed <= seeds; ++seed) {
      const RandomStream random(static_cast<uint64_t>(seed), variant);
      point.losses[seed] = kLaw.at(gain * compute) + noise * (random.uniform(static_cast<uint64_t>(i)) - 0.5);
    }
    points.push_back(point);
  }
  return points;
}

std::vector<ScalingPoint> both(std::vector<ScalingPoint> a, const std::vector<ScalingPoint>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string warnings_of(const ScalingStudy& study) {
  std::string all;
  for (const std::string& warning : study.warnings) all += warning + "\n";
  return all;
}

TEST(CompareScaling, FindsTheLawAndTheGainThatPointsWereMadeBy) {
  const auto study = scaling_study(both(points_of("gqa", 1, 7, 1), points_of("gta", 1.25, 7, 1)), "gqa");
  ASSERT_TRUE(study);
  ASSERT_EQ(study->curves.size(), 2u);
  const statistics::PowerLaw& law = *study->curves[0].over_compute.law;
  EXPECT_NEAR(law.exponent, kLaw.exponent, 1e-4);
  EXPECT_NEAR(law.floor, kLaw.floor, 1e-3);
  EXPECT_NEAR(study->curves[0].over_parameters.law->exponent, 2 * kLaw.exponent, 2e-4);
  EXPECT_TRUE(study->curves[0].gains.empty());
  ASSERT_EQ(study->curves[1].gains.size(), 7u);
  for (const ComputeGain& gain : study->curves[1].gains) {
    ASSERT_TRUE(gain.gain) << gain.why_not;
    EXPECT_NEAR(*gain.gain, 1.25, 1e-4);
    EXPECT_FALSE(gain.interval);
  }
  EXPECT_NE(warnings_of(*study).find("One seed"), std::string::npos);
}

TEST(CompareScaling, IntervalsHoldTheTruth) {
  const auto study = scaling_study(both(points_of("gqa", 1, 7, 8, 0.004), points_of("gta", 1.25, 7, 8, 0.004)), "gqa");
  const ScalingFit& fit = study->curves[0].over_compute;
  ASSERT_TRUE(fit.exponent && fit.floor);
  EXPECT_LT(fit.exponent->low, kLaw.exponent);
  EXPECT_GT(fit.exponent->high, kLaw.exponent);
  EXPECT_LT(fit.floor->low, kLaw.floor);
  EXPECT_GT(fit.floor->high, kLaw.floor);
  const ComputeGain& gain = study->curves[1].gains[3];
  ASSERT_TRUE(gain.interval);
  EXPECT_LT(gain.interval->low, 1.25);
  EXPECT_GT(gain.interval->high, 1.25);
  EXPECT_LT(gain.interval->high - gain.interval->low, 0.1);
  EXPECT_TRUE(study->warnings.empty()) << warnings_of(*study);
}

TEST(CompareScaling, CellsOfOneSeedAreDrawnTogether) {
  // What all losses of a seed have in common is no reason to doubt the gain.
  std::vector<ScalingPoint> points = both(points_of("gqa", 1, 6, 8), points_of("gta", 1.25, 6, 8));
  for (ScalingPoint& point : points)
    for (auto& [seed, loss] : point.losses)
      loss = kLaw.floor + (loss - kLaw.floor) * (1 + 0.02 * static_cast<double>(seed - 4));
  const auto study = scaling_study(points, "gqa");
  const ComputeGain& gain = study->curves[1].gains[2];
  ASSERT_TRUE(gain.interval);
  EXPECT_NEAR(gain.interval->low, 1.25, 1e-3);
  EXPECT_NEAR(gain.interval->high, 1.25, 1e-3);
}

TEST(CompareScaling, OfFewerThanFiveSizesNothingIsFitted) {
  const auto study = scaling_study(both(points_of("gqa", 1, 4, 3), points_of("gta", 1.25, 4, 3)), "gqa");
  ASSERT_TRUE(study);
  for (const ScalingCurve& curve : study->curves) EXPECT_FALSE(curve.over_compute.law || curve.over_parameters.law);
  for (const ComputeGain& gain : study->curves[1].gains) EXPECT_FALSE(gain.gain);
  EXPECT_NE(warnings_of(*study).find("gqa: no curve is fitted to 4 sizes"), std::string::npos) << warnings_of(*study);
  EXPECT_FALSE(scaling_study(points_of("gqa", 1, 1, 3), "gqa"));
  EXPECT_FALSE(scaling_study({}, "gqa"));
}

TEST(CompareScaling, ALossThatDoesNotFallHasNoCurve) {
  std::vector<ScalingPoint> points = points_of("gqa", 1, 6, 3);
  for (size_t i = 0; i < points.size(); ++i)
    for (auto& [seed, loss] : points[i].losses) loss = 3 + 0.1 * static_cast<double>(i);
  const auto study = scaling_study(points, "gqa");
  EXPECT_FALSE(study->curves[0].over_compute.law);
  EXPECT_NE(warnings_of(*study).find("does not fall with compute"), std::string::npos) << warnings_of(*study);
}

TEST(CompareScaling, NoGainIsReadFarBeyondTheSizes) {
  // Its largest losses lie where the baseline would need more than 4 times its largest compute.
  const auto study = scaling_study(both(points_of("gqa", 1, 6, 3), points_of("gta", 6, 6, 3)), "gqa");
  const std::vector<ComputeGain>& gains = study->curves[1].gains;
  EXPECT_FALSE(gains.back().gain);
  EXPECT_EQ(gains.back().why_not, "beyond 4 times the baseline's largest compute");
  ASSERT_TRUE(gains.front().gain);
  EXPECT_NEAR(*gains.front().gain, 6, 1e-3);
}

TEST(CompareScaling, SizesThatLieCloseTogetherAreWarnedOf) {
  const auto study = scaling_study(points_of("gqa", 1, 5, 3, 0, 1.3), "gqa");
  EXPECT_NE(warnings_of(*study).find("span 2.9 times"), std::string::npos) << warnings_of(*study);
  EXPECT_NE(warnings_of(*study).find("3 seeds: intervals by bootstrap"), std::string::npos) << warnings_of(*study);
}

TEST(CompareScaling, PointsThatAreNoNumbersAreLeftOut) {
  std::vector<ScalingPoint> points = points_of("gqa", 1, 6, 2);
  points.push_back({"gqa", "nan", std::nan(""), 1, {{1, 3.0}}});
  points.push_back({"gqa", "negative", -1, 1, {{1, 3.0}}});
  points.push_back({"gqa", "no loss", 1e16, 1e6, {{1, std::nan("")}}});
  points.push_back({"gqa", "0", 1e15, 1e6, {{1, 100.0}}});  // again
  const auto study = scaling_study(points, "gqa");
  EXPECT_EQ(study->curves[0].points.size(), 6u);
  EXPECT_TRUE(study->curves[0].over_compute.law);
}

}  // namespace
}  // namespace gta
