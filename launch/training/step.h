// One step: the gradients of a batch, then the update of the weights.
//
//   losses = add_gradients()      micro-batch after micro-batch, added up in the flat space
//   queued = update(losses)       norm, clip, AdamW; on a GPU nothing has happened yet
//   UpdateOutcome(queued.outcome) waits, and says what became of it
#pragma once

#include <functional>
#include <optional>

#include "checkpoints/saver.h"
#include "data/loader.h"
#include "launch/metrics.h"
#include "launch/train_hooks.h"
#include "launch/training/training.h"

namespace gta {

// What the update needs beside the gradients.
struct StepLosses {
  Tensor cross_entropies;        // of the micro-batches, parts of the step's loss: float64 on the device
  double data_wait_seconds = 0;  // for batches that were not read yet
};

// A step that the device has been given.
struct QueuedStep {
  int64_t step;          // from 1
  int64_t tokens;        // seen with it
  int64_t first_sample;  // of its batch
  double learning_rate, data_wait_seconds;
  HostCopy outcome;
};

class TrainingStep {
 public:
  // Reads on from the training's position.
  TrainingStep(Training& training, const TrainHooks& hooks);

  // Nothing where `stop` says so between two micro-batches: a step of many may take longer than a batch system waits.
  // Changes nothing that a checkpoint holds, also when it throws. diagnosis: gets the row of diagnose.h, when one is
  // due after this step.
  std::optional<StepLosses> add_gradients(const std::function<bool()>& stop,
                                          const std::function<void(const DiagnosisRow&)>& diagnosis);
  // Queues the update and moves the training's position on. saver: is told before the weights change.
  QueuedStep update(const StepLosses& losses, CheckpointSaver& saver);

 private:
  Training& training_;
  const TrainHooks& hooks_;
  Loader loader_;
};

}  // namespace gta
