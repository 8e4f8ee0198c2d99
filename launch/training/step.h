// One step: the gradients of a batch, then the update of the weights.
//
//   losses = add_gradients()      micro-batch after micro-batch of this rank's samples, added up in the flat space;
//                                 what the last one completes is on its way to the other ranks
//   finish_gradients()            all ranks': of what a rank updates it now has the sums
//   queued = update(losses)       norm, clip, AdamW; on a GPU nothing has happened yet
//   UpdateOutcome(queued.outcome) waits, and says what became of it
//
// Of R ranks, rank r computes in micro-batch k the samples [m (k R + r), m (k R + r + 1)) of the step's batch, m being
// train.micro_batch_size.
#pragma once

#include <functional>
#include <optional>

#include "checkpoints/saver.h"
#include "data/loader.h"
#include "launch/diagnose.h"
#include "launch/train_hooks.h"
#include "launch/training/training.h"

namespace gta {

// What the update needs beside the gradients.
struct StepLosses {
  // float64 (ranks, 1 + micro-batches), of which this rank has its own row: the sum of the squares of its gradients, to
  // come, and the cross-entropies of its micro-batches, parts of the step's loss
  Tensor totals;
  double data_wait_seconds = 0;  // for batches that were not read yet
};

// What a step said to other ranks, as this one has it.
struct StepCommunication {
  double seconds_waited = 0;           // by the host, which computed nothing
  DeviceWaits device_waits;            // the same of the device
  Communicator::Traffic traffic = {};  // of tensors
  int64_t slowest_rank = 0;            // to compute its gradients
};

// A step that the device has been given.
struct QueuedStep {
  int64_t step;          // from 1
  int64_t tokens;        // seen with it
  int64_t first_sample;  // of its batch
  double learning_rate, data_wait_seconds;
  HostCopy outcome;
  StepCommunication communication = {};
};

class TrainingStep {
 public:
  // Reads on from the training's position.
  TrainingStep(Training& training, const TrainHooks& hooks);

  // Nothing where `stop` says so between two micro-batches: a step of many may take longer than a batch system waits.
  // Changes nothing that a checkpoint holds, also when it throws.
  std::optional<StepLosses> add_gradients(const std::function<bool()>& stop);
  // All ranks, also where add_gradients() has thrown.
  void finish_gradients();
  // Of the step before its update; the lead's last micro-batch stands for the step. All ranks.
  Diagnosis diagnose() const;
  // Queues the update and moves the training's position on. saver: is told before the weights change. diagnosis: sees
  // what the update changes; or nothing. All ranks.
  QueuedStep update(const StepLosses& losses, CheckpointSaver& saver, Diagnosis* diagnosis = nullptr);

 private:
  Training& training_;
  const TrainHooks& hooks_;
  Loader loader_;
  Tensor ids_, document_starts_;  // of the last micro-batch
};

}  // namespace gta
