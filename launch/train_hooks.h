// Looks into a step on its way to the weights: for tests of what must never reach them, of what a stop in the middle
// leaves, and of what a device waits for.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "launch/run_folder.h"
#include "launch/trainer.h"

namespace gta {

class ParameterSpace;
class Tensor;

// Steps and micro-batches count from 0.
struct TrainHooks {
  std::function<void(int64_t step, int64_t part)> before_micro_batch;
  // What this rank reads: the tokens of its samples, one behind the other.
  std::function<void(int64_t step, const std::vector<int32_t>& tokens)> with_batch;
  // The step's loss of this rank, in parts that are added (float64 on the device), before anything looks at it.
  std::function<void(int64_t step, const Tensor& losses)> with_loss;
  // The step's gradients, of all ranks, are in `space`, and nothing has looked at them.
  std::function<void(int64_t step, ParameterSpace& space)> before_update;
  // By whichever thread is about to write into the run's folder, before it looks whether another start has taken over.
  std::function<void()> before_look_at_fence;
  // Leave: the folder may have a second training.
  FolderLock folder_lock = FolderLock::Take;
};

TrainResult train(const LoadedRun& run, const TrainOptions& options, const Ranks& ranks, const TrainHooks& hooks);
TrainResult train(const LoadedRun& run, const TrainOptions& options, const TrainHooks& hooks);  // alone

}  // namespace gta
