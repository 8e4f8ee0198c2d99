// Lines and points as SVG that needs nothing else: no script, no font, no network; readable in dark mode and in print,
// and with a description in words for those who do not see it.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/chart/axis.h"
#include "launch/markup.h"

namespace gta {

inline constexpr double kNoSpread = std::numeric_limits<double>::quiet_NaN();

struct ChartPoint {
  double x = 0, y = 0;
  double low = kNoSpread, high = kNoSpread;
};

enum class Draw : uint8_t {
  LineWithMarks,  // one at each point, which says its numbers
  Line,           // with a few marks
  PlainLine,
  Marks,      // no line
  NamedMarks  // with the line's name beside each
};
enum class Spread : uint8_t { Bars, Band };

struct ChartLine {
  std::string name;
  std::vector<ChartPoint> points;  // x rising; those that are not finite, or have no place on the scale, are not drawn
  size_t style = 1;                // launch/chart/style.h
  Draw draw = Draw::LineWithMarks;
  Spread spread = Spread::Bars;
};

enum class Origin : uint8_t { Zero, Data };

struct Chart {
  std::string title, x, y;  // what the axes show, with the unit
  std::vector<ChartLine> lines;
  Scale x_scale = Scale::Linear, y_scale = Scale::Linear;
  Origin origin = Origin::Zero;                         // where y begins
  std::optional<std::pair<double, double>> shown = {};  // of y: what lies elsewhere is cut off
  std::vector<std::string> categories = {};             // x is, rounded, an index of them
  std::optional<double> rule = {};                      // a horizontal line
};

// One <svg> of a page that has chart_css(); id: no other element's.
Markup chart_markup(const Chart& chart, const std::string& id, const std::string& description);
// A file: the charts side by side, with a legend.
std::string svg_of(const std::vector<Chart>& charts, const std::string& description);

// "M1 2l.5-3": a path through points in tenths of a unit.
std::string path_of(const std::vector<std::pair<double, double>>& points);
// A number in tenths: "1.5", "2".
std::string coordinate(double value);
// Words that lie over lines, on a ground of their own shape. anchor, css: of the <text>.
Markup words_over(double x, double y, const char* anchor, const char* css, const std::string& words);
// Some 7 units of a chart's width a character.
double width_of(const std::string& text);

}  // namespace gta
