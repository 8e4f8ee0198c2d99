#include "launch/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace gta {
namespace {

constexpr double kWidth = 520, kHeight = 340;                       // of one chart
constexpr double kLeft = 64, kRight = 16, kTop = 34, kBottom = 46;  // margins around the plot
constexpr double kLegendLine = 18;

// Distinct also to most of those who confuse colours (Okabe and Ito), and again by dashes after eight.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#e69f00", "#56b4e9", "#f0e442", "#7f7f7f"};

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= ' ')
      out += c;
  }
  return out;
}

// 1, 2 or 5 times a power of ten: about five between 0 and `most`.
double tick_of(double most) {
  const double rough = most / 5, power = std::pow(10, std::floor(std::log10(rough)));
  for (double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power) return factor * power;
  return 10 * power;
}

class Plot {
 public:
  explicit Plot(const Chart& chart, double at) : chart_(chart), at_(at) {
    for (const ChartLine& line : chart.lines)
      for (const auto& [x, y] : line.points) {
        least_x_ = std::min(least_x_, scaled(x));
        most_x_ = std::max(most_x_, scaled(x));
        most_y_ = std::max(most_y_, y);
        xs_.push_back(x);
      }
    std::sort(xs_.begin(), xs_.end());
    xs_.erase(std::unique(xs_.begin(), xs_.end()), xs_.end());
    if (!(most_y_ > 0)) most_y_ = 1;
    tick_ = tick_of(most_y_);
    most_y_ = std::ceil(most_y_ / tick_) * tick_;
  }

  std::string text() const {
    std::string out = fmt::format("<g transform=\"translate({:.0f},0)\">\n", at_);
    out += label(kWidth / 2, 18, "middle", chart_.title, " font-weight=\"bold\"");
    for (double y = 0; y <= most_y_ * (1 + 1e-9); y += tick_) {
      out += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", kLeft,
                         kWidth - kRight, at_y(y), at_y(y));
      out += label(kLeft - 6, at_y(y) + 4, "end", fmt::format("{:.6g}", y));
    }
    double last = -std::numeric_limits<double>::infinity();
    for (double x : xs_) {
      if (at_x(x) - last < 44) continue;  // no room for its number
      last = at_x(x);
      out += label(last, kHeight - kBottom + 16, "middle", fmt::format("{:.6g}", x));
    }
    out += label(kLeft + (kWidth - kLeft - kRight) / 2, kHeight - 10, "middle", chart_.x);
    out += label(14, kTop - 8, "start", chart_.y);
    for (size_t i = 0; i < chart_.lines.size(); ++i) out += line(i);
    return out + "</g>\n";
  }

 private:
  double scaled(double x) const { return chart_.x_scale == Scale::Logarithmic ? std::log(x) : x; }
  double at_x(double x) const {
    const double span = most_x_ > least_x_ ? most_x_ - least_x_ : 1;
    return kLeft + (scaled(x) - least_x_) / span * (kWidth - kLeft - kRight);
  }
  double at_y(double y) const { return kHeight - kBottom - y / most_y_ * (kHeight - kTop - kBottom); }
  static std::string label(double x, double y, const char* anchor, const std::string& text, const char* more = "") {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                       escaped(text));
  }
  std::string line(size_t i) const {
    const char* const colour = kColours[i % std::size(kColours)];
    const char* const dashes = i >= std::size(kColours) ? " stroke-dasharray=\"6 3\"" : "";
    std::string points, marks;
    for (const auto& [x, y] : chart_.lines[i].points) {
      points += fmt::format("{:.1f},{:.1f} ", at_x(x), at_y(y));
      marks += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"><title>{}: {:.6g}, {:.6g}</title></circle>\n",
          at_x(x), at_y(y), colour, escaped(chart_.lines[i].name), x, y);
    }
    const double legend = kTop + 10 + kLegendLine * static_cast<double>(i);
    return fmt::format(
               "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"2\"{1} points=\"{2}\"/>\n{3}"
               "<line x1=\"{4:.1f}\" x2=\"{5:.1f}\" y1=\"{6:.1f}\" y2=\"{6:.1f}\" stroke=\"{0}\" "
               "stroke-width=\"2\"{1}/>\n",
               colour, dashes, points, marks, kLeft + 10, kLeft + 30, legend - 4) +
           label(kLeft + 36, legend, "start", chart_.lines[i].name);
  }

  const Chart& chart_;
  double at_, tick_ = 1;
  double least_x_ = std::numeric_limits<double>::infinity(), most_x_ = -least_x_, most_y_ = 0;
  std::vector<double> xs_;
};

}  // namespace

std::string svg_of(const std::vector<Chart>& charts, const std::string& description) {
  const double width = kWidth * static_cast<double>(charts.size());
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n<desc>{2}</desc>\n"
      "<style>text{{fill:#222}} .grid{{stroke:#ccc}} .back{{fill:#fff}}"
      "@media(prefers-color-scheme:dark){{text{{fill:#ddd}} .grid{{stroke:#444}} .back{{fill:#181818}}}}</style>\n"
      "<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n",
      width, kHeight, escaped(description));
  for (size_t i = 0; i < charts.size(); ++i) out += Plot(charts[i], kWidth * static_cast<double>(i)).text();
  return out + "</svg>\n";
}

}  // namespace gta
