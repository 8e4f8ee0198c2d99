// A search before the runs that count: every arm tries the same values of one key (a learning rate's) on seeds of the
// search's own, and takes the one whose runs end with the lowest mean validation loss. Where an arm's best is at the
// grid's edge, all arms try one value beyond it, once, so that each has had as many trials as the others.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/ablate/cells.h"
#include "launch/config/schema.h"

namespace gta {

struct TrialResult {
  std::string arm;
  double value = 0;
  int64_t seed = 0;
  double loss = 0;  // infinite where the run diverged or failed
};

// The value with the lowest mean over seeds of an arm; nothing where none of its runs has a loss.
std::optional<double> best_value(const std::vector<TrialResult>& results, const std::string& arm);

// The values with one more at each end where an arm's best stands, in the ratio of the two beside it; as they are where
// none does, and at an end beyond which there is none: the key's least or most, or a first value of 0. values: rising.
std::vector<double> widened(const std::vector<double>& values, const std::vector<TrialResult>& results,
                            const ConfigKey& key);

}  // namespace gta
