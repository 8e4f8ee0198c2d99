// The parameter space and the optimizer as the ranges that a checkpoint stores.
#pragma once

#include <vector>

#include "checkpoints/reader.h"
#include "checkpoints/training_state.h"
#include "core/parameter_space.h"
#include "optim/adamw.h"

namespace gta {

// "master" of every parameter; views of the space's own memory, so saving reads it and loading writes it.
std::vector<StateRange> weight_ranges(const ParameterSpace& space);
// The same with "exp_avg" and "exp_avg_sq".
std::vector<StateRange> training_ranges(const ParameterSpace& space, const AdamW& optimizer);

// Fills the space (and the optimizer's moments) from a checkpoint; errors as Checkpoint::load.
void load_weights(const Checkpoint& checkpoint, ParameterSpace& space);
void load_training(const Checkpoint& checkpoint, ParameterSpace& space, AdamW& optimizer);

}  // namespace gta
