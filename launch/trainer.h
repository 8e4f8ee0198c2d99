// The pretraining loop.
//
// One step: global_batch_size sequences in micro-batches, gradients added up in the flat space; a step whose loss or
// gradient is not finite never reaches the weights; clip, AdamW. Between steps: log, evaluate, sample, save. A signal
// saves at the end of the step, or between two micro-batches, where the step is given up.
//
// Several ranks train together: each computes its share of a step's samples, and what leads to a decision (a signal, a
// step that is not finite, a save) is agreed on, so that all of them do the same. Rank 0, the lead, alone writes the
// run's folder.
//
// A GPU is given a step whole, without being waited for; what became of it (loss, gradient norm, whether it was
// skipped) is read when the next one has been queued. Before anything looks at the weights every step is read.
#pragma once

#include <string>

#include "launch/config/config.h"
#include "launch/plan.h"
#include "launch/training/ranks.h"

namespace gta {

enum class FolderUse : uint8_t { Resume, Fresh };  // Fresh moves an existing folder aside

struct TrainOptions {
  std::string run_dir;  // empty: runs/NAME
  FolderUse use = FolderUse::Resume;
  std::string device = "auto";
  Misfit misfit = Misfit::Refuse;
  int64_t profile_steps = 0;  // of the first steps: their ranges as RUN/profile.json and a table
  // Warnings of the ranks but the lead go to RUN/rank-0001.txt and so on. Not where ranks share a process: there is one
  // log.
  bool own_logs = true;
};

enum class TrainOutcome : uint8_t { Finished, NothingToDo, Interrupted };

struct TrainResult {
  TrainOutcome outcome = TrainOutcome::Finished;
  std::string run_dir;
  int64_t step = 0;
  double loss = 0, validation_loss = 0, validation_bits_per_byte = 0;
};

// Error(BadInput) before anything is written when configuration, data or an existing run do not fit; Error(Failed)
// after max_skipped_steps, when a step's data cannot be read any more (the state before it is saved), or when the final
// checkpoint or the last rows of the metrics could not be written. Of several ranks an Error that is agreed() is each
// one's; after any other the others are somewhere else, and this process has to end.
TrainResult train(const LoadedRun& run, const TrainOptions& options, const Ranks& ranks);
TrainResult train(const LoadedRun& run, const TrainOptions& options);  // alone

}  // namespace gta
