// Saves a training into its run's folder, wherever that is by now.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "checkpoints/saver.h"
#include "launch/run_folder.h"
#include "launch/training/training.h"

namespace gta {

class RunSaver {
 public:
  // folder: the lead's; nullptr elsewhere. fence: of this rank. checkpoints: of the run. saved_step: of the
  // checkpoint that the training goes on from; -1: there is none.
  RunSaver(Training& training, RunFolder* folder, const std::shared_ptr<Fence>& fence, const std::string& checkpoints,
           int64_t saved_step);

  // All ranks, as all that follow. Begins to save the state of now, after the rows of the metrics up to here; a warning
  // where the weights are not sound. Waits for an earlier save. A save that fails is a warning.
  void save();
  // Whether the newest checkpoint is of the step of now; waits for a save in flight.
  bool is_saved() { return saved_step_ == training_.position.step && finish(); }
  // Waits; false when the last save failed.
  bool finish();
  // Writes into the run's folder which checkpoint was the last to be whole on disk, if that has changed.
  void note_saved();

  CheckpointSaver& checkpoints() { return saver_; }

 private:
  Training& training_;
  RunFolder* folder_;
  std::string checkpoints_;
  int64_t saved_step_, noted_step_ = -1;  // of the last save(), and of the last note
  CheckpointSaver saver_;
};

}  // namespace gta
