// The differences to the baseline: each seed's, their mean and how sure it is.
#include <fmt/format.h>

#include <cmath>

#include "launch/chart/forest.h"
#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"

namespace gta::page {
namespace {

std::string text_of(const Estimate& difference) {
  const NumberText text = [](double value) { return signed_fixed(value, 4); };
  return text(difference.mean) + (difference.interval ? " " + in_brackets(*difference.interval, text) : "");
}

// What Holm's correction can ask for, and what one comparison alone would.
template <class Number, class Text>
Markup with_alone(const std::optional<Number>& corrected, const std::optional<Number>& alone, const Text& text) {
  if (!corrected && !alone) return kNoNumber;
  Markup all = corrected ? text(*corrected) : kNoNumber;
  all += element("span", {{"class", "pm"}}, {alone ? " (" + text(*alone) + ")" : ""});
  return all;
}

Markup power_table(const Comparison& comparison) {
  Table table("What these seeds can show",
              {"variant", "pairs", "correlation of the pairs",
               "smallest difference shown with 80% power, by Holm (alone), " + std::string(unit_of(comparison.measure)),
               "seeds that the difference seen would take, by Holm (alone)"});
  for (const Variant& variant : comparison.variants) {
    if (!variant.difference) continue;
    const Difference& difference = *variant.difference;
    table.row(name_with_mark(comparison, variant.name),
              {std::to_string(difference.of_pairs.values.size()),
               difference.correlation ? fixed(*difference.correlation, 2) : kNoNumber,
               with_alone(difference.smallest_shown_corrected, difference.smallest_shown,
                          [](double value) { return fixed(value, 4); }),
               with_alone(difference.seeds_needed_corrected, difference.seeds_needed, grouped)});
  }
  return table.empty() ? Markup() : table.markup();
}

}  // namespace

Markup differences_section(const Comparison& comparison) {
  const std::string& baseline = comparison.baseline().name;
  const double practical = comparison.practical_difference;
  const std::string unit = unit_of(comparison.measure);
  Forest forest{"Pairs of one seed", unit + "; to the left the variant is better", practical, {}};
  std::string description;
  for (size_t i = 0; i < comparison.variants.size(); ++i) {
    const Variant& variant = comparison.variants[i];
    if (!variant.difference || !std::isfinite(variant.difference->of_pairs.mean)) continue;
    const Estimate& pairs = variant.difference->of_pairs;
    ForestRow row{variant.name, text_of(pairs), style_of_variant(i), pairs.mean, {}, pairs.list()};
    if (pairs.interval) row.interval = {pairs.interval->low, pairs.interval->high};
    description += fmt::format("{}: {}, {}. ", row.name, row.text, name_of(variant.difference->finding));
    forest.rows.push_back(std::move(row));
  }
  if (forest.rows.empty()) return {};
  Markup all = figure(
      {forest_markup(forest, "forest", description)},
      {"A mark is the mean over pairs of runs of the same seed, its bar the 95% interval, a dot below it one seed. "
       "Where "
       "a bar crosses 0 no difference is shown. ",
       practical > 0
           ? Markup(fmt::format("What lies in the shaded strip, closer to 0 than {:.3g} {}, is practically equal. ",
                                practical, unit))
           : Markup(),
       "The numbers are in the tables, and in report.json under variants: NAME: difference."});
  all += power_table(comparison);
  all +=
      note({"Pairs have the same batches in the same order. The higher their correlation, the more of the seeds\u2019 "
            "luck their differences are free of; near 0, or below it, pairing helped nothing."});
  return section("differences", "Differences to " + baseline, all);
}

}  // namespace gta::page
