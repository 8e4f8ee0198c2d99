// Differences from something, one below the other: each with its interval, and a dot for each measurement.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/markup.h"

namespace gta {

struct ForestRow {
  std::string name, text;  // text: the numbers, in words
  size_t style = 1;
  double middle = 0;
  std::optional<std::pair<double, double>> interval;
  std::vector<double> measurements;
};

struct Forest {
  std::string title, x;  // what the axis shows, with the unit
  double practical = 0;  // as good as 0 within this: shaded
  std::vector<ForestRow> rows;
};

// One <svg> of a page that has chart_css(); id: no other element's.
Markup forest_markup(const Forest& forest, const std::string& id, const std::string& description);

}  // namespace gta
