// Makes a model cost what another one does, by changing a few whole numbers of its configuration.
//
// The keys are tried in their order, each alone; then two of them together. A width goes in steps of 32, and where no
// such step comes within the tolerance of 16, 8, 4, 2 and 1; layers, heads and train.steps go one by one. A cost rises
// with every key. Of what is within the tolerance the coarsest step wins, then of one key the nearest, of two keys the
// least change (the sum of |log(after / before)|).
//
// Where train.steps changes, the schedule goes along (with_steps()).
#pragma once

#include <string>
#include <vector>

#include "launch/ablate/cost.h"

namespace gta {

bool is_adjustable(const std::string& key);
const std::vector<std::string>& adjustable_keys();

struct Adjustment {
  std::string key;
  int64_t before = 0, after = 0;
};

struct Match {
  RunConfig config;                     // the one given, adjusted
  std::vector<Adjustment> adjustments;  // empty: it was within the tolerance
  Cost cost;
  double off = 0;  // (its budget - the target) / the target
};

struct MatchRequest {
  Budget budget = Budget::Parameters;
  double target = 0;              // above 0
  double tolerance = 0;           // of it
  std::vector<std::string> keys;  // that may change
};

// Of a run whose vocabulary and lengths are resolved; name: of it, for messages. Error(BadInput) where the budget
// cannot be met names the nearest there is.
Match match_budget(const RunConfig& config, const MatchRequest& request, const std::string& name);

// A run of another length: the schedule's warm-up and decay keep their share of it.
RunConfig with_steps(RunConfig config, int64_t steps);

// "model.intermediate_size 512 -> 480", of several with commas; "" of none.
std::string describe(const std::vector<Adjustment>& adjustments);

}  // namespace gta
