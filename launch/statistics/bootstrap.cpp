#include "launch/statistics/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "launch/statistics/distributions.h"

namespace gta::statistics {
namespace {

// Between the two nearest of n sorted values, at probability (n - 1).
double quantile_of(const std::vector<double>& sorted, double probability) {
  const double at = probability * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[below + 1] - sorted[below]);
}

double acceleration(const std::vector<double>& jackknife) {
  const double middle = mean(jackknife);
  double squares = 0, cubes = 0;
  for (double value : jackknife) {
    const double d = middle - value;
    squares += d * d;
    cubes += d * d * d;
  }
  return squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
}

}  // namespace

Resampled resample(int64_t items, const Statistic& statistic, int64_t resamples, uint64_t seed) {
  std::vector<int64_t> all(static_cast<size_t>(items));
  std::iota(all.begin(), all.end(), int64_t{0});
  Resampled result{statistic(all), {}, {}};
  const RandomStream random(seed, "bootstrap");
  std::vector<int64_t> drawn(all.size());
  for (int64_t n = 0; n < resamples; ++n) {
    for (int64_t i = 0; i < items; ++i)
      drawn[static_cast<size_t>(i)] =
          static_cast<int64_t>(random.uniform(static_cast<uint64_t>(n * items + i)) * static_cast<double>(items));
    result.bootstrap.push_back(statistic(drawn));
  }
  for (int64_t left_out = 0; left_out < items; ++left_out) {
    std::vector<int64_t> others = all;
    others.erase(others.begin() + left_out);
    if (!others.empty()) result.jackknife.push_back(statistic(others));
  }
  return result;
}

Interval bca_interval(const Resampled& resampled, double confidence) {
  std::vector<double> sorted;
  for (double value : resampled.bootstrap)
    if (std::isfinite(value)) sorted.push_back(value);
  if (sorted.empty()) return {resampled.estimate, resampled.estimate};
  std::sort(sorted.begin(), sorted.end());
  const auto place = [&](auto bound) { return static_cast<double>(bound - sorted.begin()); };
  const double below = (place(std::lower_bound(sorted.begin(), sorted.end(), resampled.estimate)) +
                        place(std::upper_bound(sorted.begin(), sorted.end(), resampled.estimate))) /
                       2 / static_cast<double>(sorted.size());
  const double tail = (1 - confidence) / 2;
  const bool defined = below > 0 && below < 1;
  const double z0 = defined ? normal_quantile(below) : 0, a = defined ? acceleration(resampled.jackknife) : 0;
  const auto bound = [&](double probability) {
    const double z = z0 + normal_quantile(probability);
    return quantile_of(sorted, normal_cdf(z0 + z / (1 - a * z)));
  };
  return {bound(tail), bound(1 - tail)};
}

}  // namespace gta::statistics
