// Saves while training goes on: a thread writes, verifies and prunes. It writes from the training's own memory for as
// long as that does not change, which is until the next update; only what is left then is copied.
//
//   saver.save(state);          the thread begins
//   forward, backward           read the weights, as the thread does
//   saver.before_update();      copies what is not written yet
//   optimizer.step(...)         changes the memory; the thread goes on from the copies
//
// On a GPU the copies go to pinned memory, which is taken at the first save and kept: they are queued, and the update
// waits for them on the device. Of a state that is larger than what may be pinned (PieceOptions::most_pinned) the host
// itself copies the rest, and waits.
#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "checkpoints/state_pieces.h"
#include "checkpoints/training_state.h"

namespace gta {

class CheckpointSaver {
 public:
  CheckpointSaver(std::string directory, int64_t keep, int64_t keep_every_steps, bool asynchronous,
                  PieceOptions options = {});
  ~CheckpointSaver();  // waits for a save in flight
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // Waits for an earlier save, then saves; asynchronous: lets the thread begin, and returns. Do not change or free the
  // ranges' memory from then on until before_update() or finish() has returned. A save that fails is a warning:
  // training goes on.
  void save(const TrainingState& state);
  // To be called, by the thread that calls save(), before anything changes the ranges' memory: the optimizer's update,
  // a load. What is done, or queued for a GPU, afterwards is not seen by a save in flight; nothing to do without one. A
  // copy that cannot be made fails that save.
  void before_update();
  // A save that cannot even begin; as one that has failed.
  void give_up(int64_t step, const std::exception& error);
  // Later saves go to another directory: the run's folder has been renamed. Waits for a save in flight.
  void save_to(std::string directory);
  // Waits; false when the last save failed.
  bool finish();
  bool failed() const;              // whether the last save that ended failed
  int64_t last_saved_step() const;  // of the newest checkpoint that is whole on disk; -1 while there is none
  double last_seconds() const;      // of writing and pruning in the last save that ended
  int64_t staged_bytes() const;     // in copies now; by the thread that calls save()

 private:
  void work();
  void reserve_snapshot();
  void warn_unsaved(int64_t step, const std::exception& error) const noexcept;
  bool write();
  void write_and_prune();

  std::string directory_;
  int64_t keep_, keep_every_steps_;
  bool asynchronous_;
  PieceOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  TrainingState state_;
  std::unique_ptr<Snapshot> snapshot_;   // of a GPU's state
  int64_t snapshot_of_ = -1;             // bytes of the state that it was made for
  std::unique_ptr<StatePieces> pieces_;  // of state_; replaced only by save()
  bool pending_ = false, stop_ = false, good_ = true;
  int64_t saved_step_ = -1;
  double seconds_ = 0;
  std::thread thread_;
};

}  // namespace gta
