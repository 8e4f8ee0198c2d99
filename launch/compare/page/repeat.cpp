// What a reader needs to do the same again.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "core/io/hash.h"
#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"
#include "launch/compare/variants.h"

namespace gta::page {
namespace {

Markup code(const std::string& text) { return element("code", {}, {text}); }

std::string value_in(const std::map<std::string, std::string>& settings, const std::string& key) {
  const auto found = settings.find(key);
  return found == settings.end() ? kNoNumber : found->second;
}

Markup differing_settings(const Comparison& comparison) {
  std::vector<std::map<std::string, std::string>> settings;
  std::vector<std::string> columns = {"key"};
  for (const Variant& variant : comparison.variants) {
    settings.push_back(variant.settings);
    columns.push_back(variant.name);
  }
  Table table("Keys in which the variants differ", columns);
  for (const std::string& key : differing_keys(settings)) {
    std::vector<Markup> values;
    for (const auto& of_one : settings) values.emplace_back(value_in(of_one, key));
    table.row(code(key), values);
  }
  return table.empty() ? paragraph({"The variants differ in no key of their configurations."}) : table.markup();
}

Markup settings_of_baseline(const Comparison& comparison) {
  const Variant& baseline = comparison.baseline();
  Table table("Every key that counts, of " + baseline.name, {"key", "value"});
  table.words();
  for (const auto& [key, value] : baseline.settings) table.row(code(key), {value});
  return details("Configuration of the baseline", table.markup());
}

// Each value that any run has, with the number of runs that have it.
class Facts {
 public:
  void add(const std::string& name, const std::string& value) {
    if (!counts_.count(name)) names_.push_back(name);
    ++counts_[name][value];
  }

  Markup markup() const {
    Table table("What the runs that count ran on and with", {"", "value (runs)"});
    table.words();
    for (const std::string& name : names_) {
      Markup values;
      for (const auto& [value, runs] : counts_.at(name)) {
        if (!values.empty()) values += Markup::literal("<br>");
        values += fmt::format("{} ({})", value, runs);
      }
      table.row(name, {values});
    }
    return table.empty() ? Markup() : table.markup();
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::map<std::string, int64_t>> counts_;
};

std::string hours(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} seconds", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} minutes", seconds / 60);
  return fmt::format("{:.1f} hours", seconds / 3600);
}

}  // namespace

Markup repeat_section(const Comparison& comparison) {
  Facts facts;
  double seconds = 0;
  Markup changes;
  std::string example;
  for (const Variant& variant : comparison.variants)
    for (size_t index : variant.runs) {
      const RunRecord& run = comparison.runs[index];
      if (example.empty()) example = run.label;
      if (std::isfinite(run.seconds)) seconds += run.seconds;
      for (const auto& [name, value] : run.environment) facts.add(name, value);
      facts.add("hash of the data", run.data_hash ? hash_text(*run.data_hash) : "not known");
      facts.add("hash of the tokenizer", run.tokenizer_hash ? hash_text(*run.tokenizer_hash) : "not known");
      if (!run.changes.empty())
        changes += element("li", {}, {code(run.label), ": ", element("pre", {}, {run.changes})});
    }
  Markup all = differing_settings(comparison);
  all += facts.markup();
  all +=
      paragraph({fmt::format("The steps of the runs that count took {} in sum. Each run\u2019s folder has its "
                             "resolved configuration, environment.json and metrics.jsonl; one is trained again by:",
                             hours(seconds))});
  all += element("pre", {{"class", "scroll"}, {"tabindex", "0"}},
                 {fmt::format("gta train {}/config.yaml --run-dir runs/again", example)});
  if (!changes.empty()) all += details("Settings that changed while runs trained", element("ul", {}, {changes}));
  all += settings_of_baseline(comparison);
  return section("repeat", "To repeat this", all);
}

}  // namespace gta::page
