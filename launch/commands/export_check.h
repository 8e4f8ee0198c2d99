// Whether what was exported computes what the checkpoint does.
#pragma once

#include <vector>

#include "launch/loaded_model.h"

namespace gta {

// Words of the tokenizer, one after the other: as good as any text to compare two models with. int32 (1, up to 32).
Tensor reference_prompt(const LoadedModel& model);
// The largest difference of logits, over the largest of ours; infinite where one is no number.
double largest_difference(const std::vector<double>& ours, const std::vector<double>& theirs);

// Of logits by another program. Of float32 what two ways to add lose; of shorter numbers far more than rounding costs,
// and far less than rows in a wrong order.
inline double tolerated_difference(bool float32) { return float32 ? 1e-4 : 0.25; }

}  // namespace gta
