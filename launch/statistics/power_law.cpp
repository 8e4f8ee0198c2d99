#include "launch/statistics/power_law.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace gta::statistics {
namespace {

using Points = std::vector<std::pair<double, double>>;

struct Line {
  double intercept, slope, squares;  // of log(L - E) over log C
  // The derivative of squares / 2 by E; intercept and slope, at their best, add nothing to it.
  double derivative;
};

Line line_at(const Points& points, double floor) {
  const auto n = static_cast<double>(points.size());
  double mean_x = 0, mean_y = 0;
  for (const auto& [c, l] : points) {
    mean_x += std::log(c) / n;
    mean_y += std::log(l - floor) / n;
  }
  double xx = 0, xy = 0;
  for (const auto& [c, l] : points) {
    xx += (std::log(c) - mean_x) * (std::log(c) - mean_x);
    xy += (std::log(c) - mean_x) * (std::log(l - floor) - mean_y);
  }
  Line line{mean_y - xy / xx * mean_x, xy / xx, 0, 0};
  for (const auto& [c, l] : points) {
    const double residual = std::log(l - floor) - line.intercept - line.slope * std::log(c);
    line.squares += residual * residual;
    line.derivative -= residual / (l - floor);
  }
  return line;
}

}  // namespace

double PowerLaw::at(double compute) const { return floor + factor * std::pow(compute, -exponent); }

std::optional<double> PowerLaw::reaches(double loss) const {
  if (!(loss > floor)) return std::nullopt;
  return std::pow((loss - floor) / factor, -1 / exponent);
}

std::optional<PowerLaw> fit_power_law(const Points& points) {
  std::set<double> computes;
  double least = points.empty() ? 0 : points.front().second;
  for (const auto& [c, l] : points) {
    if (!(c > 0) || !(l > 0) || !std::isfinite(c) || !std::isfinite(l)) return std::nullopt;
    computes.insert(c);
    least = std::min(least, l);
  }
  if (computes.size() < kFewestForPowerLaw) return std::nullopt;
  // Ever closer to the smallest loss, where the logarithm of what is left has no bound.
  constexpr int kSteps = 400;
  std::vector<double> floors{0};
  for (int i = 1; i < kSteps; ++i) floors.push_back(least * (1 - std::pow(10.0, -8.0 * i / kSteps)));
  size_t best = 0;
  for (size_t i = 1; i < floors.size(); ++i)
    if (line_at(points, floors[i]).squares < line_at(points, floors[best]).squares) best = i;
  double low = floors[best == 0 ? 0 : best - 1], high = floors[std::min(best + 1, floors.size() - 1)];
  double floor = floors[best];
  if (line_at(points, low).derivative < 0 && line_at(points, high).derivative > 0) {
    for (int i = 0; i < 100; ++i) {
      floor = low + (high - low) / 2;
      (line_at(points, floor).derivative < 0 ? low : high) = floor;
    }
  }
  const Line line = line_at(points, floor);
  if (!(line.slope < 0)) return std::nullopt;
  return PowerLaw{floor, std::exp(line.intercept), -line.slope,
                  std::sqrt(line.squares / static_cast<double>(points.size()))};
}

}  // namespace gta::statistics
