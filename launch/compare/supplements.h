// What a comparison may have beside its runs' losses.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launch/compare/profiles.h"
#include "launch/compare/scaling.h"

namespace gta {

struct Supplements {
  std::vector<Profile> profiles;
  std::optional<ScalingStudy> scaling;
  std::map<std::string, double> decode_tokens_per_second;  // by variant
};

// For report.json: {"profiles": {"loss/position": {"labels", "first_step", "last_step", "variants": {NAME: [{"mean",
// "low", "high", "values": {SEED: x}}, ...]}}}, "scaling": {NAME: {"points", "over_compute", "over_parameters",
// "gains"}, ...} | null, "scaling_warnings": [...], "decode_tokens_per_second": {NAME: x}}; low and high: over seeds.
nlohmann::ordered_json json_of(const Supplements& supplements);

}  // namespace gta
