// Line charts as SVG that needs nothing else: no script, no font, no network; readable in dark mode and in print, and
// with a description in words for those who do not see it.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace gta {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // (x, y), finite, x rising
};

enum class Scale : uint8_t { Linear, Logarithmic };

struct Chart {
  std::string title, x, y;  // what the axes show, with the unit
  std::vector<ChartLine> lines;
  Scale x_scale = Scale::Linear;
};

// The charts side by side, as one <svg> element. description: for those who do not see it.
std::string svg_of(const std::vector<Chart>& charts, const std::string& description);

}  // namespace gta
