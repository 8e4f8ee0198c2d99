// Saves while training goes on: the step pays only for the copy, a thread writes, verifies and prunes.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "checkpoints/training_state.h"

namespace gta {

class CheckpointSaver {
 public:
  CheckpointSaver(std::string directory, int64_t keep, int64_t keep_every_steps, bool asynchronous);
  ~CheckpointSaver();  // waits for a save in flight
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // Waits for an earlier save, copies the state, returns. A save that fails is a warning: training goes on.
  void save(const TrainingState& state);
  // Waits; false when the last save failed.
  bool finish();
  bool failed() const;          // whether the last save that ended failed
  double last_seconds() const;  // of writing and pruning in the last save that ended

 private:
  void work();
  bool write(const TrainingState& state);
  void stage(const TrainingState& state);
  void ended(bool good, double seconds);

  std::string directory_;
  int64_t keep_, keep_every_steps_;
  bool asynchronous_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  TrainingState staged_;
  std::vector<std::vector<char>> buffers_;
  bool pending_ = false, stop_ = false, good_ = true;
  double seconds_ = 0;
  std::thread thread_;
};

}  // namespace gta
