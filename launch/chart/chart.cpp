#include "launch/chart/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/chart/style.h"

namespace gta {
namespace {

constexpr double kWidth = 400, kHeight = 300;
constexpr double kLeft = 56, kRight = 14, kTop = 46, kBottom = 46;  // margins around the plot
constexpr double kPlotRight = kWidth - kRight, kPlotBottom = kHeight - kBottom;
constexpr double kMargin = 5;  // of a mark around the plot
constexpr double kFar = 1e4;   // nothing is drawn further out
constexpr int kTicks = 5;
constexpr size_t kMarksOfLine = 6;

Markup label(double x, double y, const char* anchor, const std::string& text, const std::string& css = "tick") {
  return element("text", {{"x", coordinate(x)}, {"y", coordinate(y)}, {"text-anchor", anchor}, {"class", css}}, {text});
}

bool overlap(const std::pair<double, double>& a, double a_width, const std::pair<double, double>& b, double b_width) {
  return a.first < b.first + b_width && b.first < a.first + a_width && std::abs(a.second - b.second) < 13;
}

class Plot {
 public:
  explicit Plot(const Chart& chart)
      : chart_(chart), x_(0, 1, Scale::Linear, kLeft, kPlotRight), y_(0, 1, Scale::Linear, kPlotBottom, kTop) {
    for (const ChartLine& line : chart.lines) {
      lines_.emplace_back();
      for (const ChartPoint& point : line.points)
        if (has_place(point.x, chart.x_scale) && has_place(point.y, chart.y_scale)) lines_.back().push_back(point);
    }
    set_axes();
  }

  Markup markup() const {
    Markup all = label(8, 17, "start", chart_.title, "title");
    all += label(8, 36, "start", chart_.y, "unit");
    all += label((kLeft + kPlotRight) / 2, kHeight - 8, "middle", chart_.x, "unit");
    all += grid();
    // A picture within the picture cuts off what lies outside of it.
    const double left = kLeft - kMargin, top = kTop - kMargin;
    const std::string width = coordinate(kPlotRight - kLeft + 2 * kMargin),
                      height = coordinate(kPlotBottom - kTop + 2 * kMargin);
    Markup inside;
    if (chart_.rule) inside += empty_element("path", {{"class", "rule"}, {"d", level(*chart_.rule)}});
    for (size_t i = 0; i < lines_.size(); ++i) inside += spread(i);
    for (size_t i = 0; i < lines_.size(); ++i) inside += line(i);
    all += element("svg",
                   {{"x", coordinate(left)},
                    {"y", coordinate(top)},
                    {"width", width},
                    {"height", height},
                    {"viewBox", fmt::format("{} {} {} {}", coordinate(left), coordinate(top), width, height)}},
                   {inside});
    all += names();
    return all;
  }

 private:
  bool has_spread(const ChartPoint& point) const {
    return has_place(point.low, chart_.y_scale) && has_place(point.high, chart_.y_scale);
  }

  void set_axes() {
    std::vector<double> xs, ys;
    for (const auto& points : lines_)
      for (const ChartPoint& point : points) {
        xs.push_back(point.x);
        ys.push_back(point.y);
        if (has_spread(point)) ys.insert(ys.end(), {point.low, point.high});
      }
    if (chart_.rule && has_place(*chart_.rule, chart_.y_scale)) ys.push_back(*chart_.rule);
    if (chart_.origin == Origin::Zero && chart_.y_scale == Scale::Linear) ys.push_back(0);
    if (chart_.shown) ys = {chart_.shown->first, chart_.shown->second};
    const bool none = xs.empty();
    if (none) xs = ys = {1};
    std::sort(xs.begin(), xs.end());
    xs.erase(std::unique(xs.begin(), xs.end()), xs.end());
    if (!chart_.categories.empty())
      x_ = Axis(-0.5, static_cast<double>(chart_.categories.size()) - 0.5, Scale::Linear, kLeft, kPlotRight);
    else
      x_ = Axis(xs.front(), xs.back(), chart_.x_scale, kLeft, kPlotRight);
    if (chart_.categories.empty() && room_beside_points()) {
      const double room = 0.08 * (x_.high() - x_.low());
      x_ = chart_.x_scale == Scale::Linear
               ? Axis(x_.low() - room, x_.high() + room, Scale::Linear, kLeft, kPlotRight)
               : Axis(x_.low() / 1.3, x_.high() * 1.3, Scale::Logarithmic, kLeft, kPlotRight);
    }
    const bool measured = std::all_of(chart_.lines.begin(), chart_.lines.end(),
                                      [](const ChartLine& line) { return line.draw == Draw::LineWithMarks; });
    if (chart_.categories.empty() && measured && xs.size() <= 8 && !none) x_values_ = xs;
    const auto [low, high] = std::minmax_element(ys.begin(), ys.end());
    y_ = Axis(*low, *high, chart_.y_scale, kPlotBottom, kTop);
    if (chart_.y_scale == Scale::Linear && !chart_.shown) y_.widen_to_ticks(kTicks);
  }
  bool room_beside_points() const {
    return std::any_of(chart_.lines.begin(), chart_.lines.end(),
                       [](const ChartLine& line) { return line.draw == Draw::NamedMarks; });
  }

  std::vector<Axis::Tick> x_ticks() const {
    std::vector<Axis::Tick> ticks;
    for (size_t i = 0; i < chart_.categories.size(); ++i)
      ticks.push_back({static_cast<double>(i), chart_.categories[i]});
    for (double x : x_values_) ticks.push_back({x, axis_number(x)});
    return ticks.empty() ? x_.ticks(kTicks) : ticks;
  }

  std::string level(double y) const {
    return fmt::format("M{} {}H{}", coordinate(kLeft), coordinate(at_y(y)), coordinate(kPlotRight));
  }

  Markup grid() const {
    Markup all;
    std::string lines;
    for (const Axis::Tick& tick : y_.ticks(kTicks)) {
      lines += level(tick.value);
      all += label(kLeft - 6, at_y(tick.value) + 4, "end", tick.text);
    }
    double taken = -kFar;
    for (const Axis::Tick& tick : x_ticks()) {
      const double half = width_of(tick.text) / 2, x = std::min(at_x(tick.value), kWidth - half);
      if (x - half < taken) continue;  // no room for it
      taken = x + half + 6;
      lines += fmt::format("M{} {}v4", coordinate(at_x(tick.value)), coordinate(kPlotBottom));
      all += label(x, kPlotBottom + 18, "middle", tick.text);
    }
    Markup result = empty_element("path", {{"class", "grid"}, {"d", lines}});
    result += all;
    return result;
  }

  double at_x(double x) const { return std::clamp(x_.at(x), -kFar, kFar); }
  double at_y(double y) const { return std::clamp(y_.at(y), -kFar, kFar); }

  Markup spread(size_t i) const {
    std::vector<std::pair<double, double>> up, down;
    std::string bars;
    for (const ChartPoint& point : lines_[i]) {
      if (!has_spread(point)) continue;
      const double x = at_x(point.x), low = at_y(point.low), high = at_y(point.high);
      up.emplace_back(x, high);
      down.emplace_back(x, low);
      bars += fmt::format("M{} {}V{}", coordinate(x), coordinate(low), coordinate(high));
    }
    if (up.empty()) return {};
    const bool band = chart_.lines[i].spread == Spread::Band;
    up.insert(up.end(), down.rbegin(), down.rend());
    return element("g", {{"class", class_of(chart_.lines[i].style)}},
                   {empty_element("path", {{"class", band ? "band" : "bar"}, {"d", band ? path_of(up) + "z" : bars}})});
  }

  Markup line(size_t i) const {
    const ChartLine& line = chart_.lines[i];
    const std::string mark = mark_of(line.style);
    const size_t count = lines_[i].size(), apart = std::max<size_t>(1, count / kMarksOfLine);
    std::vector<std::pair<double, double>> points;
    std::string few;
    Markup each;
    for (size_t k = 0; k < count; ++k) {
      const ChartPoint& point = lines_[i][k];
      points.emplace_back(at_x(point.x), at_y(point.y));
      const std::string place =
          fmt::format("M{} {}", coordinate(points.back().first), coordinate(points.back().second));
      // Those of different lines at different places.
      if ((k + apart * line.style / kStyles) % apart == 0) few += place + mark;
      const auto category = static_cast<size_t>(std::max(0.0, std::round(point.x)));
      const std::string x = category < chart_.categories.size() ? chart_.categories[category] : axis_number(point.x);
      if (line.draw != Draw::Line && line.draw != Draw::PlainLine)
        each += element("path", {{"class", "mark"}, {"d", place + mark}},
                        {element("title", {}, {fmt::format("{}: {}, {}", line.name, x, axis_number(point.y))})});
    }
    Markup all;
    if (line.draw != Draw::Marks && line.draw != Draw::NamedMarks && !points.empty())
      all += empty_element("path", {{"class", "line"}, {"d", path_of(points)}});
    if (line.draw == Draw::Line && !few.empty()) all += empty_element("path", {{"class", "mark"}, {"d", few}});
    all += each;
    return element("g", {{"class", class_of(line.style)}}, {all});
  }

  // Beside their points, where nothing else is if there is such a place.
  Markup names() const {
    std::vector<std::pair<std::pair<double, double>, double>> taken;
    for (size_t i = 0; i < lines_.size(); ++i)
      if (chart_.lines[i].draw == Draw::NamedMarks)
        for (const ChartPoint& point : lines_[i]) taken.push_back({{at_x(point.x) - 5, at_y(point.y)}, 10});
    Markup all;
    for (size_t i = 0; i < lines_.size(); ++i) {
      if (chart_.lines[i].draw != Draw::NamedMarks) continue;
      const std::string& name = chart_.lines[i].name;
      const double width = width_of(name);
      for (const ChartPoint& point : lines_[i]) {
        const double x = at_x(point.x), y = at_y(point.y);
        std::pair<double, double> best{x + 8, y};
        size_t fewest = taken.size() + 1;
        for (const double dy : {0.0, -12.0, 12.0, -24.0, 24.0, -36.0, 36.0})
          for (const double dx : {8.0, -8 - width}) {
            const std::pair<double, double> place{x + dx, y + dy};
            if (place.first < 0 || place.first + width > kWidth || place.second < kTop || place.second > kPlotBottom)
              continue;
            const auto here = static_cast<size_t>(std::count_if(taken.begin(), taken.end(), [&](const auto& other) {
              return overlap(place, width, other.first, other.second);
            }));
            if (here < fewest) {
              fewest = here;
              best = place;
            }
          }
        taken.push_back({best, width});
        all += words_over(best.first, best.second + 4, "start", "tick", name);
      }
    }
    return all;
  }

  const Chart& chart_;
  std::vector<std::vector<ChartPoint>> lines_;  // what has a place
  Axis x_, y_;
  std::vector<double> x_values_;  // written beside the axis, where they are few
};

// Of all lines of the charts, below them.
struct Legend {
  std::vector<std::pair<std::string, size_t>> entries;  // names and styles
  double entry = 60;
  size_t columns = 1;

  Legend(const std::vector<Chart>& charts, double width) {
    for (const Chart& chart : charts)
      for (const ChartLine& line : chart.lines) {
        const std::pair<std::string, size_t> one{line.name, line.style};
        if (std::find(entries.begin(), entries.end(), one) == entries.end()) entries.push_back(one);
        entry = std::max(entry, width_of(line.name) + 60);
      }
    columns = std::max<size_t>(1, static_cast<size_t>((width - 16) / entry));
  }

  double height() const { return 20 * static_cast<double>((entries.size() + columns - 1) / columns) + 8; }
  Markup markup() const {
    Markup all;
    for (size_t i = 0; i < entries.size(); ++i) {
      const double x = 16 + entry * static_cast<double>(i % columns),
                   y = kHeight + 12 + 20 * static_cast<double>(i / columns);
      const std::string place = fmt::format("M{} {}", coordinate(x), coordinate(y));
      all += element("g", {{"class", class_of(entries[i].second)}},
                     {empty_element("path", {{"class", "line"}, {"d", place + "h34"}}),
                      empty_element("path", {{"class", "mark"},
                                             {"d", fmt::format("M{} {}{}", coordinate(x + 17), coordinate(y),
                                                               mark_of(entries[i].second))}})});
      all += label(x + 42, y + 4, "start", entries[i].first);
    }
    return all;
  }
};

}  // namespace

std::string coordinate(double value) {
  const auto tenths = static_cast<int64_t>(std::llround(value * 10));
  const int64_t whole = std::abs(tenths) / 10, rest = std::abs(tenths) % 10;
  std::string text = tenths < 0 ? "-" : "";
  if (whole != 0 || rest == 0) text += std::to_string(whole);
  return rest == 0 ? text : text + "." + std::to_string(rest);
}

double width_of(const std::string& text) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  return 7.2 * static_cast<double>(characters);
}

Markup words_over(double x, double y, const char* anchor, const char* css, const std::string& words) {
  Markup both = label(x, y, anchor, words, std::string(css) + " halo");
  both += label(x, y, anchor, words, css);
  return both;
}

std::string path_of(const std::vector<std::pair<double, double>>& points) {
  std::string path;
  double x = 0, y = 0;
  const auto tenths = [](double value) { return std::round(value * 10) / 10; };
  for (const auto& point : points) {
    const double to_x = tenths(point.first), to_y = tenths(point.second);
    const std::string dx = coordinate(to_x - x), dy = coordinate(to_y - y);
    const size_t before = static_cast<size_t>(&point - points.data());
    path += before == 0 ? "M" : before == 1 ? "l" : dx.starts_with('-') ? "" : " ";
    path += dx + (dy.starts_with('-') ? "" : " ") + dy;
    x = to_x;
    y = to_y;
  }
  return path;
}

Markup chart_markup(const Chart& chart, const std::string& id, const std::string& description) {
  return element("svg",
                 {{"class", "chart"},
                  {"role", "img"},
                  {"aria-labelledby", id + "-t " + id + "-d"},
                  {"viewBox", fmt::format("0 0 {} {}", kWidth, kHeight)}},
                 {element("title", {{"id", id + "-t"}}, {chart.title}),
                  element("desc", {{"id", id + "-d"}}, {description}), Plot(chart).markup()});
}

std::string svg_of(const std::vector<Chart>& charts, const std::string& description) {
  const double width = kWidth * static_cast<double>(charts.size());
  const Legend legend(charts, width);
  const std::string w = coordinate(width), h = coordinate(kHeight + legend.height());
  Markup panels;
  for (size_t i = 0; i < charts.size(); ++i)
    panels += element("g", {{"transform", fmt::format("translate({},0)", kWidth * static_cast<double>(i))}},
                      {Plot(charts[i]).markup()});
  return element("svg",
                 {{"xmlns", "http://www.w3.org/2000/svg"},
                  {"class", "chart"},
                  {"role", "img"},
                  {"viewBox", fmt::format("0 0 {} {}", w, h)},
                  {"width", w},
                  {"height", h}},
                 {element("desc", {}, {description}), element("style", {}, {chart_css()}),
                  empty_element("rect", {{"class", "ground"}, {"width", "100%"}, {"height", "100%"}}), panels,
                  legend.markup()})
             .text() +
         "\n";
}

}  // namespace gta
