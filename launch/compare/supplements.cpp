#include "launch/compare/supplements.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json by_seed(const std::map<int64_t, double>& values) {
  Json json = Json::object();
  for (const auto& [seed, value] : values) json[std::to_string(seed)] = number(value);
  return json;
}

Json json_of(const Estimate& estimate) {
  const std::vector<double> values = estimate.list();
  if (values.empty()) return nullptr;
  return {{"mean", number(estimate.mean)},
          {"low", number(*std::min_element(values.begin(), values.end()))},
          {"high", number(*std::max_element(values.begin(), values.end()))},
          {"values", by_seed(estimate.values)}};
}

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
  for (const ScalingPoint& point : curve.points)
    points.push_back({{"size", point.size},
                      {"compute", number(point.compute)},
                      {"parameters", number(point.parameters)},
                      {"losses", by_seed(point.losses)}});
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

}  // namespace

Json json_of(const Supplements& supplements) {
  Json profiles = Json::object(), scaling = nullptr, warnings = Json::array(), decoding = Json::object();
  for (const Profile& profile : supplements.profiles) profiles[profile.key] = json_of(profile);
  if (supplements.scaling) {
    scaling = Json::object();
    for (const ScalingCurve& curve : supplements.scaling->curves) scaling[curve.variant] = json_of(curve);
    for (const std::string& warning : supplements.scaling->warnings) warnings.push_back(warning);
  }
  for (const auto& [variant, value] : supplements.decode_tokens_per_second) decoding[variant] = number(value);
  return {{"profiles", profiles},
          {"scaling", scaling},
          {"scaling_warnings", warnings},
          {"decode_tokens_per_second", decoding}};
}

}  // namespace gta
