#include "launch/compare/supplements.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json by_seed(const std::map<int64_t, double>& values) {
  Json json = Json::object();
  for (const auto& [seed, value] : values) json[std::to_string(seed)] = number(value);
  return json;
}

Json over_seeds(const Estimate& estimate, const char* name_of_values) {
  const std::vector<double> values = estimate.list();
  if (values.empty()) return nullptr;
  return {{"mean", number(estimate.mean)},
          {"low", number(*std::min_element(values.begin(), values.end()))},
          {"high", number(*std::max_element(values.begin(), values.end()))},
          {name_of_values, by_seed(estimate.values)}};
}
Json json_of(const Estimate& estimate) { return over_seeds(estimate, "values"); }

Json json_of(const std::optional<statistics::Interval>& interval) {
  if (!interval) return nullptr;
  return {{"low", number(interval->low)}, {"high", number(interval->high)}};
}

Json json_of(const ScalingFit& fit) {
  if (!fit.law) return nullptr;
  return {{"floor", number(fit.law->floor)},       {"factor", number(fit.law->factor)},
          {"exponent", number(fit.law->exponent)}, {"residual", number(fit.law->residual)},
          {"floor_interval", json_of(fit.floor)},  {"exponent_interval", json_of(fit.exponent)}};
}

Json json_of(const ScalingCurve& curve) {
  Json points = Json::array(), gains = Json::array();
  for (const ScalingPoint& point : curve.points) {
    points.push_back(
        {{"size", point.size}, {"compute", number(point.compute)}, {"parameters", number(point.parameters)}});
    points.back().update(over_seeds(Estimate(point.losses), "losses"));
  }
  for (const ComputeGain& gain : curve.gains)
    gains.push_back({{"size", gain.size},
                     {"gain", gain.gain ? number(*gain.gain) : Json(nullptr)},
                     {"interval", json_of(gain.interval)},
                     {"why_not", gain.why_not}});
  return {{"points", points},
          {"over_compute", json_of(curve.over_compute)},
          {"over_parameters", json_of(curve.over_parameters)},
          {"gains", gains}};
}

Json json_of(const Profile& profile) {
  Json variants = Json::object();
  for (const Profile::Line& line : profile.lines) {
    Json values = Json::array();
    for (const Estimate& value : line.values) values.push_back(json_of(value));
    variants[line.variant] = values;
  }
  return {{"labels", profile.labels},
          {"first_step", profile.first_step},
          {"last_step", profile.last_step},
          {"variants", variants}};
}

Json json_of(const Search& search) {
  Json trials = Json::array(), taken = Json::object();
  for (const Search::Trial& trial : search.trials)
    trials.push_back(
        {{"variant", trial.variant}, {"value", trial.value}, {"seed", trial.seed}, {"loss", number(trial.loss)}});
  for (const auto& [variant, value] : search.taken) taken[variant] = value;
  return {{"key", search.key}, {"taken", taken}, {"trials", trials}};
}

}  // namespace

std::string words_of(const Search& search) {
  std::set<double> values;
  std::set<int64_t> seeds;
  std::map<std::string, std::map<double, std::vector<double>>> losses;
  for (const Search::Trial& trial : search.trials) {
    values.insert(trial.value);
    seeds.insert(trial.seed);
    losses[trial.variant][trial.value].push_back(trial.loss);
  }
  std::vector<std::string> variants;
  for (const auto& [variant, by_value] : losses) {
    const auto taken = search.taken.find(variant);
    if (taken == search.taken.end()) continue;
    std::vector<std::string> others;
    for (const auto& [value, of_value] : by_value)
      if (value != taken->second) others.push_back(fmt::format("{:.4f} at {:.4g}", statistics::mean(of_value), value));
    variants.push_back(fmt::format("{} took {:.4g} ({:.4f}; {})", variant, taken->second,
                                   statistics::mean(by_value.at(taken->second)), fmt::join(others, ", ")));
  }
  return fmt::format(
      "Before, every variant tried {} {:.4g} on the seeds {}, which do not count below, and trained with the value "
      "that "
      "ended with the lowest mean validation loss: {}.",
      search.key, fmt::join(values, ", "), fmt::join(seeds, ", "), fmt::join(variants, ", "));
}

std::string words_of(const std::map<std::string, TestSet>& by_variant) {
  std::vector<std::string> parts;
  for (const auto& [variant, set] : by_variant) {
    std::string text = fmt::format("{} {:.4f}", variant, set.loss.mean);
    if (const std::optional<Estimate>& d = set.difference)
      text += fmt::format(
          " ({:+.4f}{})", d->mean,
          d->interval ? fmt::format(", 95% interval {:+.4f} to {:+.4f}", d->interval->low, d->interval->high) : "");
    parts.push_back(text);
  }
  return fmt::format(
      "On the test set, which was evaluated once and decided nothing, the mean losses in nats per token are {}; in "
      "brackets the difference to the baseline, pair by pair.",
      fmt::join(parts, ", "));
}

Json json_of(const Supplements& supplements) {
  Json profiles = Json::object(), scaling = nullptr, warnings = Json::array(), decoding = Json::object();
  for (const Profile& profile : supplements.profiles) profiles[profile.key] = json_of(profile);
  if (supplements.scaling) {
    scaling = Json::object();
    for (const ScalingCurve& curve : supplements.scaling->curves) scaling[curve.variant] = json_of(curve);
    for (const std::string& warning : supplements.scaling->warnings) warnings.push_back(warning);
  }
  for (const auto& [variant, value] : supplements.decode_tokens_per_second) decoding[variant] = number(value);
  Json test = Json::object();
  for (const auto& [variant, set] : supplements.test)
    test[variant] = {{"loss", json_of(set.loss)},
                     {"difference", set.difference ? json_of(*set.difference) : Json(nullptr)}};
  return {{"profiles", profiles},
          {"scaling", scaling},
          {"scaling_warnings", warnings},
          {"decode_tokens_per_second", decoding},
          {"search", supplements.search ? json_of(*supplements.search) : Json(nullptr)},
          {"test", test}};
}

}  // namespace gta
