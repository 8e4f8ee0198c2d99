// Simulated ablations, whose truth is known: how often something is shown that is not there, and how often intervals
// hold what is.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "launch/compare/difference.h"

namespace gta {
namespace {

constexpr int kAblations = 2000;
constexpr double kSeedNoise = 0.05, kVariantNoise = 0.02;  // nats: of a seed for all variants, of each run

struct Simulated {
  int with_finding = 0, intervals = 0, covering = 0, shown = 0;
};

// Variants besides the baseline, each `effect` above it.
Simulated simulate(int64_t seeds, int comparisons, double effect) {
  Simulated result;
  const RandomStream random(static_cast<uint64_t>(seeds * 100 + comparisons), effect == 0 ? "null" : "effect");
  uint64_t next = 0;
  for (int ablation = 0; ablation < kAblations; ++ablation) {
    std::vector<double> of_seed;
    for (int64_t seed = 0; seed < seeds; ++seed) of_seed.push_back(3 + kSeedNoise * random.normal(next++));
    const auto variant = [&](double above) {
      std::map<int64_t, double> losses;
      for (int64_t seed = 0; seed < seeds; ++seed)
        losses[seed] = of_seed[static_cast<size_t>(seed)] + above + kVariantNoise * random.normal(next++);
      return Estimate(std::move(losses));
    };
    const Estimate baseline = variant(0);
    std::vector<Difference> differences;
    for (int i = 0; i < comparisons; ++i) differences.push_back(difference_between(variant(effect), baseline));
    std::vector<Difference*> all;
    for (Difference& d : differences) all.push_back(&d);
    conclude(all, kPracticalDifference);
    bool any = false;
    for (const Difference& d : differences) {
      ++result.intervals;
      result.covering += d.of_pairs.interval->low <= effect && effect <= d.of_pairs.interval->high;
      result.shown += is_shown(d.finding);
      any = any || is_shown(d.finding);
    }
    result.with_finding += any;
  }
  return result;
}

// Of a share of `expected` among so many ablations; intervals of one ablation share its baseline, and count as one.
double error_of(double expected) { return std::sqrt(expected * (1 - expected) / kAblations); }

TEST(SimulatedComparisons, WithoutADifferenceShowOneInFewerThanOneOfTwenty) {
  for (const int64_t seeds : {3, 5})
    for (const int comparisons : {2, 3, 4, 5, 6}) {
      const Simulated result = simulate(seeds, comparisons, 0);
      const double share = static_cast<double>(result.with_finding) / kAblations;
      EXPECT_LE(share, 0.05 + 2 * error_of(0.05)) << seeds << " seeds, " << comparisons << " comparisons";
      EXPECT_GT(share, 0.005) << "of " << comparisons << ": nothing would ever be shown";
      const double covered = static_cast<double>(result.covering) / result.intervals;
      EXPECT_NEAR(covered, 0.95, 3 * error_of(0.95)) << seeds << " seeds, " << comparisons << " comparisons";
    }
}

TEST(SimulatedComparisons, WithADifferenceHaveItInTheirIntervalsAsOftenAsTheySay) {
  for (const int64_t seeds : {3, 5}) {
    const Simulated result = simulate(seeds, 3, 0.06);
    const double covered = static_cast<double>(result.covering) / result.intervals;
    EXPECT_NEAR(covered, 0.95, 3 * error_of(0.95)) << seeds << " seeds";
    EXPECT_GT(static_cast<double>(result.shown) / result.intervals, seeds == 5 ? 0.5 : 0.1) << "it is found, too";
  }
}

}  // namespace
}  // namespace gta
