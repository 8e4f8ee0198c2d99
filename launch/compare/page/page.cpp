#include "launch/compare/page/page.h"

#include <fmt/format.h>

#include <set>

#include "launch/chart/style.h"
#include "launch/compare/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"

namespace gta {
namespace page {
namespace {

std::string subtitle_of(const Comparison& comparison) {
  std::set<int64_t> seeds;
  size_t runs = 0;
  for (const Variant& variant : comparison.variants) {
    runs += variant.runs.size();
    for (const auto& [seed, value] : comparison.measured(variant).values) seeds.insert(seed);
  }

  std::string text = fmt::format("{}, {}, {}; baseline {}", counted(comparison.variants.size(), "variant"),
                                 counted(seeds.size(), "seed"), counted(runs, "run"), comparison.baseline().name);
  if (comparison.options.equal != Budget::None)
    text += fmt::format("; meant to be equal: {}", name_of(comparison.options.equal));
  return text;
}

Markup remarks(const std::vector<Remark>& remarks) {
  Markup items;
  for (const Remark& remark : remarks)
    items += element("li", {}, {element("b", {}, {remark.kind}), ": " + remark.text});
  return element("ul", {}, {items});
}

Markup banner(const Comparison& comparison) {
  if (comparison.fair()) return {};
  return element("div", {{"class", "banner"}, {"role", "alert"}},
                 {element("p", {},
                          {element("b", {}, {"This comparison is not fair."}),
                           " What is said below may have other reasons than the variants:"}),
                  remarks(comparison.problems)});
}

Markup contents_of(const std::vector<std::pair<const char*, const char*>>& entries) {
  Markup items;
  for (const auto& [id, title] : entries)
    items += element("li", {}, {element("a", {{"href", std::string("#") + id}}, {title})});
  return element("nav", {{"aria-label", "Sections"}}, {element("ul", {}, {items})});
}

}  // namespace
}  // namespace page

std::string report_page(const Comparison& comparison, const std::vector<std::string>& paragraphs,
                        const Supplements& supplements) {
  using namespace page;  // NOLINT
  struct Part {
    const char *id, *title;
    Markup markup;
  };
  const Part parts[] = {{"results", "Results", results_section(comparison, supplements)},
                        {"differences", "Differences", differences_section(comparison)},
                        {"curves", "Training", curves_section(comparison)},
                        {"tradeoffs", "Trade-offs", tradeoffs_section(comparison, supplements)},
                        {"profiles", "By position and by layer", profiles_section(comparison, supplements)},
                        {"scaling", "Sizes", scaling_section(comparison, supplements)},
                        {"runs", "Runs", runs_section(comparison)},
                        {"repeat", "To repeat this", repeat_section(comparison)}};
  Markup sections;
  std::vector<std::pair<const char*, const char*>> entries;
  for (const Part& part : parts) {
    if (part.markup.empty()) continue;
    entries.emplace_back(part.id, part.title);
    sections += part.markup;
  }

  Markup words;
  for (const std::string& text : paragraphs) words += paragraph({text});
  Markup notes;
  if (!comparison.notes.empty())
    notes = element("details", {{"open", "open"}}, {element("summary", {}, {"Notes"}), remarks(comparison.notes)});

  Markup head = Markup::literal(
      "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      // Nothing is loaded and nothing runs, whatever may stand below.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n");
  head += element("title", {}, {comparison.options.name});
  head += Markup::literal("\n");
  head += element("style", {}, {page_css(), chart_css()});
  const Markup body = element(
      "main", {},
      {element("header", {},
               {element("h1", {}, {comparison.options.name}),
                element("p", {{"class", "subtitle"}}, {subtitle_of(comparison)})}),
       banner(comparison), element("div", {{"class", "lead"}}, {words}), contents_of(entries), sections, notes});
  return "<!DOCTYPE html>\n" +
         element(
             "html", {{"lang", "en"}},
             {element("head", {}, {head}), element("body", {},
                                                   {body, element("footer", {},
                                                                  {"Made by gta compare. Every number of this page is "
                                                                   "in report.json beside it."})})})
             .text() +
         "\n";
}

}  // namespace gta
