// What is said of a few numbers x_1 .. x_n.
//
//   mean m = sum x / n        deviation s = sqrt(sum (x - m)^2 / (n - 1))
//   interval m +- t(1 - (1 - confidence) / 2, n - 1) s / sqrt(n)
#pragma once

#include <optional>
#include <vector>

namespace gta::statistics {

inline constexpr double kConfidence = 0.95;

struct Interval {
  double low = 0, high = 0;
};

double mean(const std::vector<double>& values);       // NaN of none
double deviation(const std::vector<double>& values);  // NaN of fewer than two
// Of the mean; nothing of fewer than two.
std::optional<Interval> interval_of_mean(const std::vector<double>& values, double confidence = kConfidence);
// Pearson's. Nothing of fewer than three pairs, where it is 1 or -1 whatever they are, or where one side does not vary.
std::optional<double> correlation(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace gta::statistics
