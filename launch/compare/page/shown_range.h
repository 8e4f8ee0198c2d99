// Which part of a picture is worth showing: at the beginning of a training losses fall so far that all lines would
// lie on each other afterwards.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "launch/chart/chart.h"

namespace gta::page {

// Of y, with its spread, where x is beyond the first fifth of what the lines have; nothing where all of them hardly
// needs more room than that.
std::optional<std::pair<double, double>> shown_range(const std::vector<ChartLine>& lines);
// Of all points, with their spread.
std::optional<std::pair<double, double>> full_range(const std::vector<ChartLine>& lines);

}  // namespace gta::page
