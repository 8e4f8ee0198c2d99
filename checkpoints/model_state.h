// The parameter space and the optimizer as the ranges that a checkpoint stores.
#pragma once

#include <vector>

#include "checkpoints/reader.h"
#include "checkpoints/training_state.h"
#include "core/parameter_space.h"
#include "optim/adamw.h"

namespace gta {

// Of a rank: what it owns, which over all ranks is every element once and is what its file holds; or what it updates,
// which it has to be given back. They differ in the vectors, which every rank updates; of a parameter that it does
// not update a rank still wants a range, of no elements: so a checkpoint is seen to fit the model.
enum class RangesOf : uint8_t { Owner, Updater };

// "master" of the parameters; the space's own memory, so saving reads it and loading writes it.
std::vector<StateRange> weight_ranges(const ParameterSpace& space, RangesOf which);
// The same with "exp_avg" and "exp_avg_sq".
std::vector<StateRange> training_ranges(const ParameterSpace& space, const AdamW& optimizer, RangesOf which);

// Fills what this rank updates (and the optimizer's moments) from a checkpoint; errors as Checkpoint::load. Weights
// whose masters other ranks have stay as they are.
void load_weights(const Checkpoint& checkpoint, ParameterSpace& space);
void load_training(const Checkpoint& checkpoint, ParameterSpace& space, AdamW& optimizer);

}  // namespace gta
