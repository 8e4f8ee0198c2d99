// Intervals of a statistic that has no formula for one, from samples drawn with replacement from the items themselves:
// bias-corrected and accelerated (BCa; Efron, "Better Bootstrap Confidence Intervals", 1987).
//
//   z0 = normal quantile of the share of resampled values below the estimate (ties count half)
//   a  = sum (J - J_i)^3 / (6 (sum (J - J_i)^2)^1.5), J_i without item i, J their mean
//   low, high = quantiles of the resampled values at normal_cdf(z0 + (z0 + z) / (1 - a (z0 + z))),
//               z = -+ normal quantile
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "launch/statistics/sample.h"

namespace gta::statistics {

struct Resampled {
  double estimate = 0;
  std::vector<double> bootstrap;  // of items drawn with replacement
  std::vector<double> jackknife;  // without one item each
};

// statistic(indices of items, in [0, items))
using Statistic = std::function<double(const std::vector<int64_t>&)>;
Resampled resample(int64_t items, const Statistic& statistic, int64_t resamples, uint64_t seed);
// Resamples whose value is not finite say nothing. Where z0 is none (all values lie on one side of the estimate), and
// where nothing varies, the quantiles of the values as they are.
Interval bca_interval(const Resampled& resampled, double confidence = kConfidence);

}  // namespace gta::statistics
