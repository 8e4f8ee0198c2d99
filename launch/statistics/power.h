// What a two-sided paired t test at `level` can see, where differences have a standard deviation s.
//
//   power(d, s, n) = P(|T| > t(1 - level / 2, n - 1)), T noncentral with n - 1 degrees of freedom and d sqrt(n) / s
#pragma once

#include <cstdint>
#include <optional>

namespace gta::statistics {

inline constexpr double kLevel = 0.05, kPower = 0.80;
inline constexpr int64_t kMostPairs = 1'000'000;

// NaN of fewer than two pairs.
double power_of_paired_t(double difference, double deviation, int64_t pairs, double level = kLevel);
// The difference that n pairs show with this power. Nothing of fewer than two.
std::optional<double> smallest_shown(double deviation, int64_t pairs, double power = kPower, double level = kLevel);
// The fewest pairs that show a difference with this power. Nothing where there is none, or more than kMostPairs would
// be needed.
std::optional<int64_t> pairs_needed(double difference, double deviation, double power = kPower, double level = kLevel);

}  // namespace gta::statistics
