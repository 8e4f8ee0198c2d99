#include "launch/compare/page/shown_range.h"

#include <algorithm>
#include <cmath>

namespace gta::page {
namespace {

constexpr double kBeginning = 0.2;  // of the course of x
constexpr double kWorthCutting = 1.5;
constexpr double kRoom = 0.05;  // above and below

std::optional<std::pair<double, double>> range_from(const std::vector<ChartLine>& lines, double from) {
  double low = INFINITY, high = -INFINITY;
  for (const ChartLine& line : lines)
    for (const ChartPoint& point : line.points) {
      if (!(point.x >= from)) continue;
      for (double y : {point.y, point.low, point.high}) {
        if (!has_place(y, Scale::Linear)) continue;
        low = std::min(low, y);
        high = std::max(high, y);
      }
    }
  if (!(low <= high)) return std::nullopt;
  const double room = kRoom * (high - low);
  return std::pair{low - room, high + room};
}

}  // namespace

std::optional<std::pair<double, double>> full_range(const std::vector<ChartLine>& lines) {
  return range_from(lines, -INFINITY);
}

std::optional<std::pair<double, double>> shown_range(const std::vector<ChartLine>& lines) {
  double first = INFINITY, last = -INFINITY;
  for (const ChartLine& line : lines)
    for (const ChartPoint& point : line.points) {
      first = std::min(first, point.x);
      last = std::max(last, point.x);
    }
  const auto all = full_range(lines), later = range_from(lines, first + kBeginning * (last - first));
  if (!all || !later || !(later->second > later->first)) return std::nullopt;
  const bool worth = all->second - all->first > kWorthCutting * (later->second - later->first);
  return worth ? later : std::nullopt;
}

}  // namespace gta::page
