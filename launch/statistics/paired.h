// Whether the differences d_1 .. d_S of S pairs show that there is one.
//
//   t = m sqrt(S) / s on S - 1 degrees of freedom; interval m +- t(0.975, S - 1) s / sqrt(S)
//   sign flips: without a difference each d could as well be -d, so p is the share of the 2^S sums of +-d that are as
//   far from 0 as the one seen. It needs no normal distribution, and with S pairs cannot go below 2 / 2^S.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "launch/statistics/sample.h"

namespace gta::statistics {

// Up to so many pairs all sums are made; of more, so many random ones.
inline constexpr int64_t kMostExactPairs = 20, kSampledSums = 200'000;

// Two-sided; 1 of none. seed: of the random sums, where there are any.
double sign_flip_p(const std::vector<double>& differences, uint64_t seed = 1);
// Two-sided, by Student's t. Nothing of fewer than two.
std::optional<double> paired_t_p(const std::vector<double>& differences);
inline double smallest_sign_flip_p(int64_t pairs) {
  return pairs < 2 ? 1.0 : 2.0 / static_cast<double>(uint64_t{1} << (pairs < 62 ? pairs : 62));
}

}  // namespace gta::statistics
