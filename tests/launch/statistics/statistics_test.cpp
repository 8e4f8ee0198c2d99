// Statistics against values that others published, and in simulations where the truth is known.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/random.h"
#include "launch/statistics/bootstrap.h"
#include "launch/statistics/distributions.h"
#include "launch/statistics/holm.h"
#include "launch/statistics/paired.h"
#include "launch/statistics/power.h"
#include "launch/statistics/power_law.h"
#include "launch/statistics/sample.h"

namespace gta::statistics {
namespace {

using Values = std::vector<double>;

// Darwin's maize, crossed minus self-fertilised, in eighths of an inch (Fisher, "The Design of Experiments", 1935).
const Values kMaize = {49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48};

TEST(Sample, MeanDeviationIntervalAndCorrelation) {
  EXPECT_DOUBLE_EQ(mean({2, 4, 4, 4, 5, 5, 7, 9}), 5);
  EXPECT_DOUBLE_EQ(deviation({2, 4, 4, 4, 5, 5, 7, 9}), std::sqrt(32.0 / 7));
  EXPECT_EQ(mean({0.1, 0.1, 0.1}), 0.1) << "equal numbers are their own mean, to the bit";
  EXPECT_EQ(deviation({0.1, 0.1, 0.1}), 0);
  EXPECT_TRUE(std::isnan(mean({})));
  EXPECT_TRUE(std::isnan(deviation({1})));
  EXPECT_FALSE(interval_of_mean({1}));
  // Of two degrees of freedom t has a formula: (2p - 1) / sqrt(2p (1 - p)).
  const Interval interval = *interval_of_mean({1, 2, 3});
  const double t = 0.95 / std::sqrt(2 * 0.975 * 0.025);
  EXPECT_NEAR(interval.low, 2 - t / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(interval.high, 2 + t / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(*correlation({1, 2, 3, 4}, {2, 4, 6, 8.000001}), 1, 1e-9);
  EXPECT_NEAR(*correlation({1, 2, 3}, {1, 3, 2}), 0.5, 1e-12);
  EXPECT_FALSE(correlation({1, 2}, {1, 2})) << "of two pairs it is 1 or -1 whatever they are";
  EXPECT_FALSE(correlation({1, 1, 1}, {1, 2, 3}));
}

TEST(Distributions, HaveThePublishedValues) {
  // Tables of Student's t, two-sided 5% and 1%.
  for (const auto& [degrees, five, one] : {std::tuple{1.0, 12.706, 63.657},
                                           {2.0, 4.303, 9.925},
                                           {4.0, 2.776, 4.604},
                                           {9.0, 2.262, 3.250},
                                           {30.0, 2.042, 2.750},
                                           {120.0, 1.980, 2.617}}) {
    EXPECT_NEAR(t_quantile(0.975, degrees), five, 5e-4) << degrees;
    EXPECT_NEAR(t_quantile(0.995, degrees), one, 5e-4) << degrees;
  }
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-14);
  EXPECT_NEAR(normal_cdf(1.959963984540054), 0.975, 1e-15);
  EXPECT_NEAR(t_two_sided(-t_quantile(0.975, 7), 7), 0.05, 1e-14);
  EXPECT_EQ(t_two_sided(std::numeric_limits<double>::infinity(), 3), 0);
  for (const double p : {0.0, 1.0, -1.0, 2.0, std::nan("")}) EXPECT_TRUE(std::isnan(t_quantile(p, 3))) << p;
  EXPECT_TRUE(std::isnan(t_quantile(0.5, 0)));
  EXPECT_TRUE(std::isnan(noncentral_t_cdf(std::nan(""), 3, 1)));
}

TEST(Paired, FishersMaize) {
  // "In just 835 cases out of 32,768 it is exceeded, in 28 it is as large": 863, and as many below.
  EXPECT_DOUBLE_EQ(sign_flip_p(kMaize), 2 * 863.0 / 32768);
  EXPECT_NEAR(*paired_t_p(kMaize), 0.0497, 5e-5);  // t = 2.148 on 14 degrees of freedom
}

TEST(Paired, FewPairsCannotShowMuchBySigns) {
  EXPECT_DOUBLE_EQ(sign_flip_p({1, 2, 3}), 0.25);
  EXPECT_DOUBLE_EQ(smallest_sign_flip_p(3), 0.25);
  EXPECT_DOUBLE_EQ(smallest_sign_flip_p(5), 0.0625);
  EXPECT_DOUBLE_EQ(sign_flip_p({5}), 1);
  EXPECT_DOUBLE_EQ(sign_flip_p({}), 1);
  EXPECT_DOUBLE_EQ(sign_flip_p({0, 0, 0}), 1);
  EXPECT_DOUBLE_EQ(sign_flip_p({0.1, 0.2, -0.3}), 1) << "0.1 + 0.2 - 0.3 is not 0 in doubles, and counts as 0";
  EXPECT_FALSE(paired_t_p({1}));
  EXPECT_EQ(*paired_t_p({0.5, 0.5}), 0);
  EXPECT_EQ(*paired_t_p({0.0, 0.0}), 1);
}

TEST(Paired, RandomSumsOfManyPairsComeNearTheExactOnes) {
  // 15 pairs and six without a difference: the same p, too many to make all sums.
  Values many = kMaize;
  many.insert(many.end(), 6, 0.0);
  const double p = 2 * 863.0 / 32768;
  EXPECT_NEAR(sign_flip_p(many, 7), p, 5 * std::sqrt(p / kSampledSums));
  EXPECT_EQ(sign_flip_p(many, 7), sign_flip_p(many, 7));
  EXPECT_NE(sign_flip_p(many, 7), sign_flip_p(many, 8));
}

TEST(Holm, IsThePublishedExample) {
  const Values adjusted = holm({0.01, 0.04, 0.03, 0.005});
  const Values expected = {0.03, 0.06, 0.06, 0.02};
  ASSERT_EQ(adjusted.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(adjusted[i], expected[i], 1e-15);
  EXPECT_EQ(holm({0.9, 0.8}), (Values{1, 1}));
  EXPECT_TRUE(holm({}).empty());
}

TEST(Power, IsGPowers) {
  // G*Power 3.1, "difference between two dependent means", two-sided 5%, power 0.80.
  EXPECT_EQ(*pairs_needed(0.2, 1), 199);
  EXPECT_EQ(*pairs_needed(0.5, 1), 34);
  EXPECT_EQ(*pairs_needed(-0.8, 1), 15);
  EXPECT_NEAR(power_of_paired_t(0.5, 1, 34), 0.8078, 1e-4);
  EXPECT_NEAR(power_of_paired_t(0, 1, 10), kLevel, 1e-12);
  for (const int64_t pairs : {2, 3, 5, 34, 1000}) {
    const double smallest = *smallest_shown(0.3, pairs);
    EXPECT_NEAR(power_of_paired_t(smallest, 0.3, pairs), kPower, 1e-9) << pairs;
    EXPECT_LE(*pairs_needed(smallest * (1 + 1e-9), 0.3), pairs);
    EXPECT_GT(*pairs_needed(smallest * (1 - 1e-6), 0.3), pairs);
  }
  EXPECT_FALSE(smallest_shown(1, 1));
  EXPECT_FALSE(pairs_needed(0, 1));
  EXPECT_FALSE(pairs_needed(1e-6, 1)) << "more than anybody will train";
  EXPECT_EQ(*pairs_needed(1, 0), 2);
  EXPECT_EQ(*smallest_shown(0, 3), 0);
  EXPECT_EQ(power_of_paired_t(1e9, 1, 2), 1);
}

TEST(Bootstrap, TheLawSchoolsCorrelation) {
  // Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: 15 schools, r = 0.776, BCa at 90%: 0.43 to 0.92.
  const Values lsat = {576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594};
  const Values gpa = {3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96};
  const Statistic of_schools = [&](const std::vector<int64_t>& schools) {
    Values x, y;
    for (int64_t school : schools) {
      x.push_back(lsat[static_cast<size_t>(school)]);
      y.push_back(gpa[static_cast<size_t>(school)]);
    }
    return correlation(x, y).value_or(std::nan(""));
  };
  const Resampled resampled = resample(15, of_schools, 20'000, 3);
  EXPECT_NEAR(resampled.estimate, 0.776, 5e-4);
  EXPECT_EQ(resampled.jackknife.size(), 15u);
  const Interval interval = bca_interval(resampled, 0.90);
  EXPECT_NEAR(interval.low, 0.43, 0.02);
  EXPECT_NEAR(interval.high, 0.92, 0.02);
}

TEST(Bootstrap, OfWhatDoesNotVaryIsThatValue) {
  const Interval interval = bca_interval(resample(
      4, [](const auto&) { return 2.5; }, 100, 1));
  EXPECT_EQ(interval.low, 2.5);
  EXPECT_EQ(interval.high, 2.5);
}

TEST(PowerLawFit, FindsTheLawThatMadeThePoints) {
  std::vector<std::pair<double, double>> points;
  for (const double compute : {1e17, 3e17, 1e18, 3e18, 1e19, 3e19})
    points.emplace_back(compute, 1.69 + 406.4 * std::pow(compute, -0.12));
  const PowerLaw law = *fit_power_law(points);
  EXPECT_NEAR(law.floor, 1.69, 1e-6);
  EXPECT_NEAR(law.exponent, 0.12, 1e-7);
  EXPECT_NEAR(law.factor, 406.4, 1e-2);
  EXPECT_LT(law.residual, 1e-8);
  EXPECT_NEAR(law.at(1e18), points[2].second, 1e-9);
  EXPECT_NEAR(*law.reaches(points[2].second) / 1e18, 1, 1e-6);
  EXPECT_FALSE(law.reaches(1.5));
  // Without a floor it is found to be 0.
  for (auto& [compute, loss] : points) loss = 50 * std::pow(compute, -0.05);
  EXPECT_NEAR(fit_power_law(points)->floor, 0, 1e-6);
  points.pop_back();
  EXPECT_TRUE(fit_power_law(points));
  points.pop_back();
  EXPECT_FALSE(fit_power_law(points)) << "four sizes are too few";
  for (int i = 0; i < 4; ++i) points.push_back(points.front());
  EXPECT_FALSE(fit_power_law(points)) << "four sizes, one of them five times";
  EXPECT_FALSE(fit_power_law({{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}})) << "rises";
  EXPECT_FALSE(fit_power_law({{1, 5}, {2, 4}, {3, 3}, {4, 2}, {5, -1}}));
}

// 2,000 ablations of three variants and a baseline over `seeds` seeds, in which nothing differs but for noise: a part
// that a pair has in common, and one of its own.
struct Simulation {
  int64_t false_findings = 0, false_by_signs = 0;  // ablations with any, after Holm
  int64_t covered = 0, intervals = 0;
};
Simulation simulate(int64_t ablations, int64_t seeds, double truth) {
  Simulation result;
  const RandomStream random(11, "simulation");
  uint64_t next = 0;
  for (int64_t n = 0; n < ablations; ++n) {
    Values baseline;
    for (int64_t s = 0; s < seeds; ++s) baseline.push_back(0.02 * random.normal(next++));
    Values p, p_signs;
    for (int variant = 0; variant < 3; ++variant) {
      Values differences;
      for (int64_t s = 0; s < seeds; ++s)
        differences.push_back(truth + 0.01 * random.normal(next++) - 0.5 * baseline[static_cast<size_t>(s)]);
      const Interval interval = *interval_of_mean(differences);
      result.covered += interval.low <= truth && truth <= interval.high;
      ++result.intervals;
      p.push_back(*paired_t_p(differences));
      p_signs.push_back(sign_flip_p(differences));
    }
    const auto any = [](const Values& values) {
      for (double value : holm(values))
        if (value < kLevel) return true;
      return false;
    };
    result.false_findings += any(p);
    result.false_by_signs += any(p_signs);
  }
  return result;
}

TEST(SimulatedAblations, FindNothingWhereNothingIs) {
  constexpr int64_t kAblations = 2000;
  // Three standard errors of a share of 5% among 2,000.
  const double error = 3 * std::sqrt(0.05 * 0.95 / kAblations);
  for (const int64_t seeds : {3, 8}) {
    const Simulation none = simulate(kAblations, seeds, 0);
    EXPECT_LT(static_cast<double>(none.false_findings) / kAblations, 0.05 + error) << seeds;
    EXPECT_LT(static_cast<double>(none.false_by_signs) / kAblations, 0.05 + error) << seeds;
    EXPECT_GT(none.false_findings, 0) << "a test that never finds anything proves nothing";
    if (seeds == 3) {
      EXPECT_EQ(none.false_by_signs, 0) << "three pairs cannot";
    }
  }
}

TEST(SimulatedAblations, IntervalsCoverTheTruthAsOftenAsTheySay) {
  for (const int64_t seeds : {3, 8}) {
    const Simulation found = simulate(2000, seeds, 0.06);
    const double share = static_cast<double>(found.covered) / static_cast<double>(found.intervals);
    EXPECT_NEAR(share, kConfidence, 3 * std::sqrt(0.05 * 0.95 / 2000))
        << seeds;  // a baseline's three are not independent
    EXPECT_GT(found.false_findings, 1000) << "a difference that is there is found";
  }
}

}  // namespace
}  // namespace gta::statistics
