// The loss over the size of the model, and how much compute a variant is worth.
#include "launch/compare/scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/chart/chart.h"
#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"

namespace gta::page {
namespace {

constexpr int kPointsOfLaw = 40;

Markup picture_of(const Comparison& comparison, const ScalingStudy& study, const char* id, const char* title,
                  const char* x, double ScalingPoint::*size, ScalingFit ScalingCurve::*fit) {
  Chart chart{title, x, "validation loss, nats per token", {}, Scale::Logarithmic, Scale::Logarithmic, Origin::Data};
  std::string words;
  for (const ScalingCurve& curve : study.curves) {
    if (curve.points.empty()) continue;
    ChartLine points{curve.variant, {}, style_of_variant(comparison, curve.variant), Draw::Marks};
    for (const ScalingPoint& point : curve.points) {
      const Estimate losses(point.losses);
      const std::vector<double> values = losses.list();
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      points.points.push_back({point.*size, losses.mean, *low, *high});
    }
    std::sort(points.points.begin(), points.points.end(),
              [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
    const double from = points.points.front().x, to = points.points.back().x;
    words += fmt::format("{}: {} at {} to {} at {}", curve.variant, fixed(points.points.front().y, 4), in_units(from),
                         fixed(points.points.back().y, 4), in_units(to));
    if (const auto& law = (curve.*fit).law) {
      words += fmt::format(", fitted {:.3g} + {:.3g} times the power {:.3g}", law->floor, law->factor, -law->exponent);
      ChartLine line{curve.variant, {}, points.style, Draw::PlainLine};
      for (int i = 0; i <= kPointsOfLaw; ++i) {
        const double at = from * std::pow(to / from, static_cast<double>(i) / kPointsOfLaw);
        line.points.push_back({at, law->at(at)});
      }
      chart.lines.push_back(std::move(line));
    }
    words += ". ";
    chart.lines.push_back(std::move(points));
  }
  return chart_markup(chart, id, words);
}

std::string with_interval(double value, const std::optional<statistics::Interval>& interval, int places) {
  return fixed(value, places) + (interval ? " " + in_brackets(*interval, decimals(places)) : "");
}

Markup fits_table(const Comparison& comparison, const ScalingStudy& study) {
  Table table(
      "Fitted curves L = E + A C^\u2212a over training FLOPs C, with 95% intervals by bootstrap over seeds",
      {"variant", "sizes", "exponent a", "floor E, nats per token", "residual, root mean square of log(L \u2212 E)"});
  for (const ScalingCurve& curve : study.curves)
    if (const auto& law = curve.over_compute.law)
      table.row(name_with_mark(comparison, curve.variant),
                {std::to_string(curve.points.size()), with_interval(law->exponent, curve.over_compute.exponent, 3),
                 with_interval(law->floor, curve.over_compute.floor, 3), fmt::format("{:.2g}", law->residual)});
  return table.empty() ? Markup() : table.markup();
}

Markup gains_table(const Comparison& comparison, const ScalingStudy& study) {
  const std::string& baseline = study.curves.front().variant;
  std::vector<std::string> sizes;
  for (const ScalingCurve& curve : study.curves)
    for (const ComputeGain& gain : curve.gains)
      if (std::find(sizes.begin(), sizes.end(), gain.size) == sizes.end()) sizes.push_back(gain.size);
  std::vector<std::string> columns = {"variant"};
  columns.insert(columns.end(), sizes.begin(), sizes.end());
  Table table("Compute-equivalent gain by size: the compute that " + baseline +
                  " needs for a variant\u2019s loss, over the variant\u2019s own",
              columns);
  for (const ScalingCurve& curve : study.curves) {
    if (curve.gains.empty()) continue;
    std::vector<Markup> cells;
    for (const std::string& size : sizes) {
      const auto gain = std::find_if(curve.gains.begin(), curve.gains.end(),
                                     [&](const ComputeGain& other) { return other.size == size; });
      cells.emplace_back(gain == curve.gains.end() ? kNoNumber
                         : gain->gain              ? with_interval(*gain->gain, gain->interval, 2)
                                                   : "not known: " + gain->why_not);
    }
    table.row(name_with_mark(comparison, curve.variant), cells);
  }
  return table.empty() ? Markup() : table.markup();
}

}  // namespace

Markup scaling_section(const Comparison& comparison, const Supplements& supplements) {
  if (!supplements.scaling || supplements.scaling->curves.empty()) return {};
  const ScalingStudy& study = *supplements.scaling;
  Markup all;
  if (!study.warnings.empty()) {
    Markup items;
    for (const std::string& warning : study.warnings) items += element("li", {}, {warning});
    all += element("div", {{"class", "warning"}},
                   {element("p", {}, {"What these sizes do not say:"}), element("ul", {}, {items})});
  }
  all += legend(comparison);
  all +=
      figure({picture_of(comparison, study, "scaling-compute", "Loss over compute", "training FLOPs",
                         &ScalingPoint::compute, &ScalingCurve::over_compute),
              picture_of(comparison, study, "scaling-parameters", "Loss over parameters", "parameters",
                         &ScalingPoint::parameters, &ScalingCurve::over_parameters)},
             {"Marks are means over seeds, bars go from the lowest to the highest; lines are the fitted curves, drawn "
              "between the sizes that there are. Both axes are logarithmic."});
  all += fits_table(comparison, study);
  all += gains_table(comparison, study);
  return section("scaling", "Over sizes", all);
}

}  // namespace gta::page
