#include "launch/chart/forest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/chart/chart.h"
#include "launch/chart/style.h"

namespace gta {
namespace {

constexpr double kWidth = 400, kLeft = 14, kRight = 14, kTop = 40, kRow = 46, kBottom = 46;
constexpr int kTicks = 5;

Axis axis_of(const Forest& forest) {
  double low = -forest.practical, high = forest.practical;
  const auto take = [&](double value) {
    if (!has_place(value, Scale::Linear)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  };
  for (const ForestRow& row : forest.rows) {
    take(row.middle);
    for (double value : row.measurements) take(value);
    // Of a few seeds intervals can be so wide that nothing else is seen.
    double widest = 0;
    for (double value : row.measurements) widest = std::max(widest, std::abs(value - row.middle));
    if (row.interval) {
      take(std::max(row.interval->first, row.middle - 8 * widest));
      take(std::min(row.interval->second, row.middle + 8 * widest));
    }
  }
  const double room = (high - low) / 30;
  return {low - room, high + room, Scale::Linear, kLeft, kWidth - kRight};
}

}  // namespace

Markup forest_markup(const Forest& forest, const std::string& id, const std::string& description) {
  const Axis axis = axis_of(forest);
  const double bottom = kTop + kRow * static_cast<double>(forest.rows.size()) + 8;
  const auto at = [&](double value) { return std::clamp(axis.at(value), kLeft, kWidth - kRight); };
  const auto text = [](double x, double y, const char* anchor, const char* css, const std::string& words) {
    return element("text", {{"x", coordinate(x)}, {"y", coordinate(y)}, {"text-anchor", anchor}, {"class", css}},
                   {words});
  };

  Markup all = text(8, 17, "start", "title", forest.title);
  if (forest.practical > 0)
    all += empty_element("rect", {{"class", "zone"},
                                  {"x", coordinate(at(-forest.practical))},
                                  {"y", coordinate(kTop - 8)},
                                  {"width", coordinate(at(forest.practical) - at(-forest.practical))},
                                  {"height", coordinate(bottom - kTop + 8)}});
  std::string grid;
  for (const Axis::Tick& tick : axis.ticks(kTicks)) {
    const double x = at(tick.value);
    grid += fmt::format("M{} {}V{}", coordinate(x), coordinate(kTop - 8), coordinate(bottom + 4));
    all += text(std::clamp(x, width_of(tick.text) / 2, kWidth - width_of(tick.text) / 2), bottom + 18, "middle", "tick",
                tick.text);
  }
  all += empty_element("path", {{"class", "grid"}, {"d", grid}});
  all += empty_element("path",
                       {{"class", "rule"},
                        {"d", fmt::format("M{} {}V{}", coordinate(at(0)), coordinate(kTop - 8), coordinate(bottom))}});
  all += text(kWidth / 2, bottom + 38, "middle", "unit", forest.x);

  for (size_t i = 0; i < forest.rows.size(); ++i) {
    const ForestRow& row = forest.rows[i];
    const double top = kTop + kRow * static_cast<double>(i), middle = top + 26;
    Markup drawn;
    if (row.interval) {
      const double low = at(row.interval->first), high = at(row.interval->second);
      std::string bar = fmt::format("M{} {}H{}", coordinate(low), coordinate(middle), coordinate(high));
      // An end that lies outside has no cap.
      if (row.interval->first >= axis.low()) bar += fmt::format("M{} {}v8", coordinate(low), coordinate(middle - 4));
      if (row.interval->second <= axis.high()) bar += fmt::format("M{} {}v8", coordinate(high), coordinate(middle - 4));
      drawn += empty_element("path", {{"class", "bar"}, {"d", bar}});
    }
    for (double value : row.measurements)
      drawn += empty_element(
          "circle", {{"class", "dot"}, {"cx", coordinate(at(value))}, {"cy", coordinate(middle + 9)}, {"r", "2.2"}});
    drawn += empty_element(
        "path", {{"class", "mark"},
                 {"d", fmt::format("M{} {}{}", coordinate(at(row.middle)), coordinate(middle), mark_of(row.style))}});
    all += words_over(kLeft, top + 12, "start", "title", row.name);
    all += words_over(kWidth - kRight, top + 12, "end", "tick", row.text);
    all += element("g", {{"class", class_of(row.style)}}, {drawn});
  }
  return element("svg",
                 {{"class", "chart"},
                  {"role", "img"},
                  {"aria-labelledby", id + "-t " + id + "-d"},
                  {"viewBox", fmt::format("0 0 {} {}", coordinate(kWidth), coordinate(bottom + kBottom))}},
                 {element("title", {{"id", id + "-t"}}, {forest.title}),
                  element("desc", {{"id", id + "-d"}}, {description}), all});
}

}  // namespace gta
