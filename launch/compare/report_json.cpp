#include "launch/compare/report_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/io/hash.h"
#include "launch/compare/groups.h"
#include "launch/compare/words.h"
#include "launch/config/schema.h"
#include "launch/environment.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kMadeBy = "gta compare";

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
template <class T>
Json number(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json hash(const std::optional<uint64_t>& value) { return value ? Json(hash_text(*value)) : Json(nullptr); }

Json by_seed(const std::map<int64_t, double>& values) {
  Json json = Json::object();
  for (const auto& [seed, value] : values) json[std::to_string(seed)] = value;
  return json;
}

Json json_of(const Estimate& estimate) {
  return {{"mean", number(estimate.mean)},
          {"deviation", number(estimate.deviation)},
          {"low", estimate.interval ? number(estimate.interval->low) : Json(nullptr)},
          {"high", estimate.interval ? number(estimate.interval->high) : Json(nullptr)},
          {"values", by_seed(estimate.values)}};
}

Json json_of(const Difference& d) {
  Json json = json_of(d.of_pairs);
  json["p_sign_flip"] = number(d.p_sign_flip);
  json["p_holm"] = number(d.p_holm);
  json["p_t"] = number(d.p_t);
  json["p_t_holm"] = number(d.p_t_holm);
  json["correlation"] = number(d.correlation);
  json["smallest_shown"] = number(d.smallest_shown);
  json["seeds_needed"] = number(d.seeds_needed);
  json["smallest_shown_corrected"] = number(d.smallest_shown_corrected);
  json["seeds_needed_corrected"] = number(d.seeds_needed_corrected);
  json["finding"] = name_of(d.finding);
  return json;
}

Json lines_of(const std::string& text) {
  Json lines = Json::array();
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(without_directories(printable(line, 1000)));
  return lines;
}

// One array for each column.
template <class Point, class... Columns>
Json columns(const std::vector<Point>& points, const Columns&... column) {
  Json json = Json::object();
  const auto add = [&](const auto& named) {
    Json values = Json::array();
    for (const Point& point : points) values.push_back(number(static_cast<double>(point.*named.second)));
    json[named.first] = std::move(values);
  };
  (add(column), ...);
  return json;
}

template <class Point, class T>
std::pair<const char*, T Point::*> column(const char* name, T Point::*field) {
  return {name, field};
}

Json json_of(const std::vector<CurvePoint>& curve) {
  return columns(curve, column("step", &CurvePoint::step), column("tokens", &CurvePoint::tokens),
                 column("flops", &CurvePoint::flops), column("seconds", &CurvePoint::seconds),
                 column("mean", &CurvePoint::mean), column("low", &CurvePoint::low), column("high", &CurvePoint::high));
}

// Every key that its type of attention uses, resolved; of paths the last names.
Json configuration_of(const RunConfig& config) {
  const std::string type = name_of(config.model.attention.type);
  Json json = Json::object();
  for (const ConfigKey& key : config_keys()) {
    const bool is_used =
        key.used_by.empty() || std::find(key.used_by.begin(), key.used_by.end(), type) != key.used_by.end();
    if (is_used && key.path != "name" && key.path != "seed")
      json[key.path] = without_directories(printable(value_text(key, key.get(config)), 10'000));
  }
  return json;
}

Json json_of(const Comparison& c, const Variant& v) {
  Json labels = Json::array();
  for (const size_t run : v.runs) labels.push_back(c.runs[run].label);
  Json adjusted = Json::object(), settings = Json::object();
  for (const auto& [key, value] : v.adjusted) adjusted[key] = value;
  for (const auto& [key, value] : v.settings) settings[key] = shown(value);
  return {{"parameters", v.cost.parameters},
          {"parameters_non_embedding", v.cost.parameters_non_embedding},
          {"flops_per_token_training", number(v.cost.flops_per_token_training)},
          {"training_flops", number(v.cost.training_flops())},
          {"attention_flops_per_token", number(v.cost.attention_flops_per_token)},
          {"cache_bytes_per_token", v.cost.cache_bytes_per_token},
          {"steps", v.cost.steps},
          {"tokens", v.cost.tokens},
          {"adjusted", adjusted},
          {"validation_loss", json_of(v.validation_loss)},
          {"bits_per_byte", json_of(v.bits_per_byte)},
          {"perplexity", json_of(v.perplexity)},
          {"seconds_per_step", json_of(v.seconds_per_step)},
          {"tokens_per_second", json_of(v.tokens_per_second)},
          {"memory_bytes", json_of(v.memory_bytes)},
          {"difference", v.difference ? json_of(*v.difference) : Json(nullptr)},
          {"best", v.best},
          {"as_good_as_best", v.as_good_as_best},
          {"runs", labels},
          {"settings", settings},
          {"configuration", configuration_of(v.config)},
          {"curves",
           {{"validation", json_of(v.validation)},
            {"training", json_of(v.training)},
            {"difference", json_of(v.difference_over_training)}}}};
}

Json json_of(const RunRecord& run, const Cell& cell) {
  Json environment = Json::object();
  for (const auto& [key, value] : run.environment) environment[key] = value;
  Json initial = nullptr;
  if (run.initial) {
    Hasher all;
    for (const auto& [parameter, value] : run.initial->hashes)
      for (const std::string& text : {parameter, value}) all.update(text.data(), text.size());
    initial = {
        {"seed", run.initial->seed}, {"parameters", run.initial->hashes.size()}, {"hash", hash_text(all.digest())}};
  }
  Json final = nullptr;
  if (run.final)
    final = {{"step", run.final->step},
             {"tokens", run.final->tokens},
             {"validation_loss", number(run.final->loss)},
             {"bits_per_byte", number(run.final->bits_per_byte)},
             {"perplexity", number(run.final->perplexity)}};
  return {
      {"folder", run.label},
      {"variant", cell.variant},
      {"seed", number(cell.seed)},
      {"counts", cell.reason.empty()},
      {"last_step", run.last_step},
      {"final", final},
      {"seconds", number(run.seconds)},
      {"seconds_per_step", number(run.seconds_per_step)},
      {"tokens_per_second", number(run.tokens_per_second)},
      {"memory_bytes", number(run.memory_bytes)},
      {"data_hash", hash(run.data_hash)},
      {"tokenizer_hash", hash(run.tokenizer_hash)},
      {"sample_order", run.order ? Json(name_of(*run.order)) : Json(nullptr)},
      {"next_sample", run.order ? Json(run.next_sample) : Json(nullptr)},
      {"skipped_steps", run.order ? Json(run.skipped_steps) : Json(nullptr)},
      {"changes", lines_of(run.changes)},
      {"environment", environment},
      {"initial_parameters", initial},
      {"validation",
       columns(run.validation, column("step", &ValidationPoint::step), column("tokens", &ValidationPoint::tokens),
               column("seconds", &ValidationPoint::seconds), column("loss", &ValidationPoint::loss),
               column("bits_per_byte", &ValidationPoint::bits_per_byte),
               column("perplexity", &ValidationPoint::perplexity))},
      {"training", columns(run.training, column("step", &TrainingPoint::step), column("tokens", &TrainingPoint::tokens),
                           column("seconds", &TrainingPoint::seconds), column("loss", &TrainingPoint::loss))}};
}

Json json_of(const std::vector<Remark>& remarks) {
  Json json = Json::array();
  for (const Remark& remark : remarks) json.push_back({{"kind", remark.kind}, {"text", remark.text}});
  return json;
}

}  // namespace

nlohmann::ordered_json report_json(const Comparison& c, const Supplements& supplements) {
  const std::string program = version_text();
  Json budgets = Json::array(), cells = Json::array(), runs = Json::array(), variants = Json::object();
  for (const Budget budget : c.equal_budgets) budgets.push_back(name_of(budget));
  for (const Variant& variant : c.variants) variants[variant.name] = json_of(c, variant);
  for (size_t i = 0; i < c.cells.size(); ++i) {
    const Cell& cell = c.cells[i];
    cells.push_back({{"variant", cell.variant},
                     {"seed", number(cell.seed)},
                     {"folder", cell.folder},
                     {"state", cell.state},
                     {"reason", cell.reason}});
    runs.push_back(json_of(c.runs[i], cell));
  }
  Json json = {{"made_by", kMadeBy},
               {"program", program.substr(0, program.find('\n'))},
               {"name", c.options.name},
               {"baseline", c.baseline().name},
               {"equal", name_of(c.options.equal)},
               {"tolerance", c.options.tolerance},
               {"equal_budgets", budgets},
               {"measure", name_of(c.measure)},
               {"unit", unit_of(c.measure)},
               {"practical_difference", c.practical_difference},
               {"fair", c.fair()},
               {"problems", json_of(c.problems)},
               {"notes", json_of(c.notes)},
               {"words", words_of(c)},
               {"variants", variants},
               {"cells", cells},
               {"runs", runs}};
  json.update(json_of(supplements));
  return json;
}

std::string report_text(const Comparison& comparison, const Supplements& supplements) {
  return report_json(comparison, supplements).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool is_report(const std::string& text) {
  return text.starts_with("{" + Json("made_by").dump() + ":" + Json(kMadeBy).dump() + ",");
}

}  // namespace gta
