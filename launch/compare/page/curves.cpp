// Losses over the course of training.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/chart/chart.h"
#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"
#include "launch/compare/page/shown_range.h"

namespace gta::page {
namespace {

constexpr const char* kTrainingUnit = "nats per token";
constexpr size_t kPointsOfCurve = 100, kPointsOfDifference = 80;  // that are drawn

using Curve = std::vector<CurvePoint>;

struct Course {
  const char *id, *label;
  double CurvePoint::*x;
};
constexpr Course kCourses[] = {{"tokens", "tokens", &CurvePoint::tokens},
                               {"flops", "training FLOPs", &CurvePoint::flops},
                               {"seconds", "seconds of training", &CurvePoint::seconds}};

// Evenly, with the first and the last.
std::vector<ChartPoint> points_of(const Curve& curve, double CurvePoint::*x, size_t most) {
  std::vector<ChartPoint> points;
  const size_t count = std::min(curve.size(), most);
  for (size_t i = 0; i < count; ++i) {
    const CurvePoint& point = curve[count == curve.size() ? i : i * (curve.size() - 1) / (count - 1)];
    points.push_back({point.*x, point.mean, point.low, point.high});
  }
  return points;
}

std::string ends_of(const Comparison& comparison, Curve Variant::*curve) {
  std::string text;
  for (const Variant& variant : comparison.variants)
    if (!(variant.*curve).empty()) {
      const CurvePoint& last = (variant.*curve).back();
      text +=
          fmt::format(" {} {} ({} to {});", variant.name, fixed(last.mean, 4), fixed(last.low, 4), fixed(last.high, 4));
    }
  return text;
}

// What -> over tokens, FLOPs and seconds.
Markup losses(const Comparison& comparison, const char* id, const std::string& what, const char* unit,
              Curve Variant::*curve) {
  std::vector<Markup> panels;
  std::optional<std::pair<double, double>> shown;
  for (const Course& course : kCourses) {
    Chart chart{fmt::format("{} over {}", what, course.label), course.label, unit, {}};
    chart.origin = Origin::Data;
    for (size_t i = 0; i < comparison.variants.size(); ++i) {
      ChartLine line{comparison.variants[i].name, points_of(comparison.variants[i].*curve, course.x, kPointsOfCurve),
                     style_of_variant(i), Draw::Line, Spread::Band};
      const auto& points = line.points;
      const bool has_course = std::any_of(points.begin(), points.end(), [](const ChartPoint& p) { return p.x > 0; });
      if (has_course) chart.lines.push_back(std::move(line));
    }
    if (chart.lines.empty()) continue;
    if (panels.empty()) shown = shown_range(chart.lines);  // one range for all of them
    chart.shown = shown;
    panels.push_back(chart_markup(chart, fmt::format("{}-{}", id, course.id),
                                  "At the end, mean over seeds, lowest to highest:" + ends_of(comparison, curve)));
  }
  if (panels.empty()) return {};
  return figure(
      panels, {fmt::format("{}: lines are means over seeds, bands go from the lowest to the highest.", what),
               shown ? " What lies above the picture, early in training, is cut off." : "",
               fmt::format(" Thinned for display; report.json has all points, under variants: NAME: curves: {}.", id)});
}

Markup differences(const Comparison& comparison) {
  std::vector<ChartLine> lines;
  for (size_t i = 0; i < comparison.variants.size(); ++i) {
    const Variant& variant = comparison.variants[i];
    if (variant.difference_over_training.empty()) continue;
    lines.push_back({variant.name,
                     points_of(variant.difference_over_training, &CurvePoint::tokens, kPointsOfDifference),
                     style_of_variant(i), Draw::Line, Spread::Band});
  }
  if (lines.empty()) return {};
  std::optional<std::pair<double, double>> shown = shown_range(lines);
  const bool cut = shown.has_value();
  if (!shown) shown = full_range(lines);
  shown = {std::min(shown->first, 0.0), std::max(shown->second, 0.0)};
  const bool of_validation = comparison.baseline().validation.size() >= 3;
  std::vector<Markup> panels;
  for (const ChartLine& line : lines) {
    Chart chart{line.name + " less " + comparison.baseline().name,
                "tokens",
                of_validation ? unit_of(comparison.measure) : kTrainingUnit,
                {line}};
    chart.origin = Origin::Data;
    chart.shown = shown;
    chart.rule = 0;
    const ChartPoint& last = line.points.back();
    panels.push_back(chart_markup(chart, fmt::format("difference-{}", 1 + (&line - lines.data())),
                                  fmt::format("At the end {} (95% interval {} to {}).", signed_fixed(last.y, 4),
                                              signed_fixed(last.low, 4), signed_fixed(last.high, 4))));
  }

  return figure(
      panels, {fmt::format("Differences of {} losses, paired by seed, with their 95% interval; below the line at 0 the "
                           "variant is better. All pictures have the same scale.",
                           of_validation ? "validation" : "training"),
               cut ? " What lies outside of it, early in training, is cut off." : "",
               " Intervals along a curve are not corrected for being many. Numbers: report.json, under variants: NAME: "
               "curves: difference."});
}

}  // namespace

Markup curves_section(const Comparison& comparison) {
  Markup all =
      losses(comparison, "validation", comparison.measure == Measure::BitsPerByte ? "Validation" : "Validation loss",
             unit_of(comparison.measure), &Variant::validation);
  all += losses(comparison, "training", "Training loss", kTrainingUnit, &Variant::training);
  if (!all.empty()) {
    Markup with_legend = legend(comparison);
    with_legend += all;
    all = with_legend;
  }
  all += differences(comparison);
  return section("curves", "Over the course of training", all);
}

}  // namespace gta::page
