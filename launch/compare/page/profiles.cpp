// Loss by position and by length of the document; what diagnosis measured layer by layer.
#include "launch/compare/profiles.h"

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

constexpr double kApart = 0.06, kMostApart = 0.8;  // of the distance of two categories: two lines, all of them

std::string id_of(const Profile& profile) {
  std::string id = profile.key;
  std::replace(id.begin(), id.end(), '/', '-');
  return id;
}

Markup picture_of(const Comparison& comparison, const Profile& profile) {
  Chart chart{profile.title, profile.x_label, profile.y_label, {}};
  chart.origin = Origin::Data;
  chart.categories = profile.labels;
  std::string words = "The last part, mean over seeds:";
  const auto lines = static_cast<double>(profile.lines.size());
  for (const Profile::Line& of : profile.lines) {
    ChartLine line{of.variant, {}, style_of_variant(comparison, of.variant)};
    // Beside each other, so that no bar hides another.
    const double aside =
        std::min(kApart, kMostApart / lines) * (static_cast<double>(&of - profile.lines.data()) - (lines - 1) / 2);
    for (size_t i = 0; i < of.values.size(); ++i) {
      if (of.values[i].values.empty()) continue;
      const std::vector<double> values = of.values[i].list();
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      line.points.push_back({static_cast<double>(i) + aside, of.values[i].mean, *low, *high});
    }
    words += fmt::format(" {} {};", of.variant, fixed(line.points.back().y, 4));
    chart.lines.push_back(std::move(line));
  }
  chart.shown = shown_range(chart.lines);
  return chart_markup(chart, id_of(profile), words);
}

std::string mean_of(const Estimate& value) {
  if (value.values.empty()) return kNoNumber;
  const double size = std::abs(value.mean);
  return size >= 1e-3 && size < 1e5 ? fixed(value.mean, size < 100 ? 4 : 1) : fmt::format("{:.4g}", value.mean);
}

// A row for each variant; for each part, where that many columns would fit on no page.
Markup table_of(const Comparison& comparison, const Profile& profile) {
  constexpr size_t kMostColumns = 12;
  const std::string caption = fmt::format("{}, {}; mean over seeds", profile.title, profile.y_label);
  std::vector<std::string> columns = {profile.x_label};
  if (profile.labels.size() > std::max(kMostColumns, profile.lines.size())) {
    for (const Profile::Line& line : profile.lines) columns.push_back(line.variant);
    Table table(caption, columns);
    for (size_t i = 0; i < profile.labels.size(); ++i) {
      std::vector<Markup> cells;
      for (const Profile::Line& line : profile.lines) cells.emplace_back(mean_of(line.values[i]));
      table.row(profile.labels[i], cells);
    }
    return table.markup();
  }
  columns.insert(columns.end(), profile.labels.begin(), profile.labels.end());
  Table table(caption, columns);
  for (const Profile::Line& line : profile.lines) {
    std::vector<Markup> cells;
    for (const Estimate& value : line.values) cells.emplace_back(mean_of(value));
    table.row(name_with_mark(comparison, line.variant), cells);
  }
  return table.markup();
}

Markup group(const Comparison& comparison, const std::vector<const Profile*>& profiles, const char* summary,
             const char* explanation) {
  if (profiles.empty()) return {};
  std::vector<Markup> panels;
  Markup tables, meanings;
  int64_t first = profiles.front()->first_step, last = profiles.front()->last_step;
  for (const Profile* profile : profiles) {
    panels.push_back(picture_of(comparison, *profile));
    tables += table_of(comparison, *profile);
    meanings += element("li", {}, {element("b", {}, {profile->title}), ": " + profile->explanation});
    first = std::min(first, profile->first_step);
    last = std::max(last, profile->last_step);
  }
  const std::string when = first == last ? fmt::format("step {}", first) : fmt::format("steps {} to {}", first, last);
  Markup all = figure(panels, {fmt::format("{} At {}. Marks are means over seeds, bars go from the lowest to the "
                                           "highest; what lies above a picture is cut off, and is in the table.",
                                           explanation, when)});
  all += element("ul", {{"class", "meanings"}}, {meanings});
  all += details(summary, tables);
  return all;
}

}  // namespace

Markup profiles_section(const Comparison& comparison, const Supplements& supplements) {
  std::vector<const Profile*> of_text, of_model;
  for (const Profile& profile : supplements.profiles)
    if (!profile.lines.empty()) (profile.key.starts_with("loss/") ? of_text : of_model).push_back(&profile);
  if (of_text.empty() && of_model.empty()) return {};
  Markup all = legend(comparison);
  all += group(comparison, of_text, "Numbers by position and length",
               "Where in a text the loss lies, from the validation at the end.");
  all += group(comparison, of_model, "Numbers by layer and part",
               "What train.diagnose_every_steps measured, on the tokens of its own step.");
  return section("profiles", "By position and by layer", all);
}

}  // namespace gta::page
