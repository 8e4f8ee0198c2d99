// L(C) = E + A C^-a: how a loss falls with compute, E what no compute takes away.
//
// Least squares of log(L - E) over log C, with E between 0 and the smallest L searched for the smallest sum of squares.
#pragma once

#include <optional>
#include <utility>
#include <vector>

namespace gta::statistics {

inline constexpr size_t kFewestForPowerLaw = 5;

struct PowerLaw {
  double floor = 0, factor = 0, exponent = 0;  // E, A, a
  double residual = 0;                         // root mean square of log(L - E) minus the line
  double at(double compute) const;
  // The compute at which the law reaches a loss; nothing at or below its floor.
  std::optional<double> reaches(double loss) const;
};

// points: (C, L), all above 0. Nothing of fewer than five different C, or where L does not fall.
std::optional<PowerLaw> fit_power_law(const std::vector<std::pair<double, double>>& points);

}  // namespace gta::statistics
