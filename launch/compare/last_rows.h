// The last rows of a run's metrics.jsonl of the kinds "breakdown" and "diagnosis", of what is read row by row:
// "loss/position/3-4", "map_entropy/layers.0". Empty where there are none.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "launch/metrics.h"

namespace gta {

struct LastRows {
  int64_t breakdown_step = 0, diagnosis_step = 0;
  std::map<std::string, double> breakdown, diagnosis;  // numbers alone, of a part: with a '/' in their names

  void take(const MetricsRow& row);  // of other kinds: nothing
};

}  // namespace gta
