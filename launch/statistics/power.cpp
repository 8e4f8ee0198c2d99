#include "launch/statistics/power.h"

#include <cmath>
#include <limits>

#include "launch/statistics/distributions.h"

namespace gta::statistics {
namespace {

double power_at(double noncentrality, int64_t pairs, double level) {
  const auto degrees = static_cast<double>(pairs - 1);
  const double beyond = t_quantile(1 - level / 2, degrees);
  // Far out nothing is left to add up, and the series of the distribution do not end.
  if (noncentrality > beyond + 1000 * (1 + beyond / std::sqrt(degrees))) return 1;
  return noncentral_t_above(beyond, degrees, noncentrality) + noncentral_t_cdf(-beyond, degrees, noncentrality);
}

}  // namespace

double power_of_paired_t(double difference, double deviation, int64_t pairs, double level) {
  if (pairs < 2 || !std::isfinite(difference) || !(deviation >= 0)) return std::numeric_limits<double>::quiet_NaN();
  if (deviation == 0) return difference == 0 ? level : 1;
  return power_at(std::abs(difference) / deviation * std::sqrt(static_cast<double>(pairs)), pairs, level);
}

std::optional<double> smallest_shown(double deviation, int64_t pairs, double power, double level) {
  if (pairs < 2 || !std::isfinite(deviation)) return std::nullopt;
  double least = 0, most = 1;
  while (power_at(most, pairs, level) < power) most *= 2;
  for (int i = 0; i < 60; ++i) {  // to the last bits of a double
    const double middle = (least + most) / 2;
    (power_at(middle, pairs, level) < power ? least : most) = middle;
  }
  return most * deviation / std::sqrt(static_cast<double>(pairs));
}

std::optional<int64_t> pairs_needed(double difference, double deviation, double power, double level) {
  if (difference == 0 || !std::isfinite(difference) || !std::isfinite(deviation)) return std::nullopt;
  const auto enough = [&](int64_t pairs) { return power_of_paired_t(difference, deviation, pairs, level) >= power; };
  int64_t too_few = 1, most = 2;
  while (!enough(most)) {
    if (most >= kMostPairs) return std::nullopt;
    too_few = most;
    most = most * 2 < kMostPairs ? most * 2 : kMostPairs;
  }
  while (most - too_few > 1) {
    const int64_t middle = too_few + (most - too_few) / 2;
    (enough(middle) ? most : too_few) = middle;
  }
  return most;
}

}  // namespace gta::statistics
