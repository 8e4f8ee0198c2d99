// What a whole run takes: FLOPs, hours, money. Model FLOPs as plan_model() counts them.
//
//   seconds = (training + validation + diagnosis + samples [+ recomputed]) / FLOP/s + steps * update
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launch/config/run_config.h"

namespace gta {

struct RunBudget {
  int64_t steps = 0, tokens = 0;  // trained on
  // FLOPs of the whole run. recomputed: what train.recompute makes a second time, which is no model FLOP.
  double training = 0, recomputed = 0, validation = 0, diagnosis = 0;
  double samples = 0;                   // at most: a text may end before
  bool validation_set_is_known = true;  // false: it is scored whole, and is not here to be counted
  double model_flops() const { return training + validation + diagnosis + samples; }
};
// Of a run whose vocabulary, lengths and micro-batch are resolved.
RunBudget budget_of(const RunConfig& run);

enum class SpeedSource : uint8_t { Given, Measured, Assumed };

// How fast the device works on a run.
struct RunSpeed {
  SpeedSource source;
  double flops_per_second;    // of model FLOPs; assumed: of all FLOPs, recomputed ones too
  double update_seconds = 0;  // of one optimizer step, apart from them
};
double seconds_of(const RunBudget& budget, const RunSpeed& speed);

// The share of a data sheet's products that a GPU is assumed to reach, and of products measured here that a CPU or a
// GPU is: what was measured of this program (docs/performance.md), rounded down.
inline constexpr double kAssumedOfDataSheet = 0.40, kAssumedOfCpu = 0.75, kAssumedOfGpu = 0.50;

std::string people_count(double count);  // "950", "168.6M", "1.13B", "220B"

}  // namespace gta
