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

// A search before the runs that are compared: every variant tried the same values of a key, on seeds of the search's
// own.
struct Search {
  std::string key;
  struct Trial {
    std::string variant;
    double value = 0;
    int64_t seed = 0;
    double loss = 0;  // not finite where the run diverged or failed
  };
  std::vector<Trial> trials;
  std::map<std::string, double> taken;  // by variant
};
// "Before, every variant tried optimizer.learning_rate 0.001, 0.002 on the seeds 101, ...: gqa took 0.002 (5.1203;
// 5.3011 at 0.001)."
std::string words_of(const Search& search);

// Of data that no training saw and nothing was chosen by.
struct TestSet {
  Estimate loss;                       // nats per token
  std::optional<Estimate> difference;  // to the baseline, pair by pair
};
std::string words_of(const std::map<std::string, TestSet>& by_variant);

struct Supplements {
  std::vector<Profile> profiles;
  std::optional<ScalingStudy> scaling;
  std::map<std::string, double> decode_tokens_per_second;  // by variant
  std::optional<Search> search;
  std::map<std::string, TestSet> test;  // by variant
};

// For report.json: {"profiles": {"loss/position": {"labels", "first_step", "last_step", "variants": {NAME: [{"mean",
// "low", "high", "values": {SEED: x}}, ...]}}}, "scaling": {NAME: {"points": [{"size", "compute", "parameters", "mean",
// "low", "high", "losses": {SEED: x}}, ...], "over_compute", "over_parameters", "gains"}, ...} | null,
// "scaling_warnings": [...], "decode_tokens_per_second": {NAME: x}, "search": {"key", "taken": {NAME: x}, "trials":
// [{"variant", "value", "seed", "loss"}]} | null, "test": {NAME: {"loss", "difference"}}}; low and high: over seeds.
nlohmann::ordered_json json_of(const Supplements& supplements);

}  // namespace gta
