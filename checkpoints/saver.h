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
//
// Several ranks save together, each its own file: the thread writes it, and says nothing to other ranks. What they have
// to tell each other they do where they meet anyway:
//
//   saver.save(state);          all ranks: the lead makes the folder, each one's thread begins to write
//   own_file() == Ended         goes into what ranks exchange in a step
//   saver.conclude();           all ranks, once that is so everywhere: the lead gets the files' entries, and its thread
//                               publishes the checkpoint; or it is given up, where a rank could not write
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "checkpoints/manifest.h"
#include "checkpoints/state_pieces.h"
#include "checkpoints/training_state.h"
#include "checkpoints/writer.h"
#include "core/comm/communicator.h"

namespace gta {

class CheckpointSaver {
 public:
  // ranks: those that save together, which outlive it; nullptr: one that owns everything. permit: asked, also by the
  // thread, before each part of a save that changes the directory; its number is the same on all ranks.
  CheckpointSaver(std::string directory, int64_t keep, int64_t keep_every_steps, bool asynchronous,
                  PieceOptions options = {}, Communicator* ranks = nullptr, WritePermit permit = {});
  ~CheckpointSaver();  // waits for what its thread does
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // save(), conclude(), give_up(), save_to() and finish() are called by all ranks. What goes wrong between them there,
  // and is not the save's own failure, is an Error.

  // Waits for an earlier save, then saves; asynchronous: lets the thread begin, and returns. Do not change or free the
  // ranges' memory from then on until before_update() or finish() has returned. A save that fails is a warning:
  // training goes on.
  void save(const TrainingState& state);
  // Of this rank, in the save that is not concluded. One rank alone concludes it itself.
  enum class OwnFile : uint8_t { None, Writing, Ended };
  OwnFile own_file() const;
  // Waits for the own file and for the other ranks' word; the lead's thread then publishes. Nothing to do without a
  // save.
  void conclude();
  // To be called, by the thread that calls save(), before anything changes the ranges' memory: the optimizer's update,
  // a load. What is done, or queued for a GPU, afterwards is not seen by a save in flight; nothing to do without one. A
  // copy that cannot be made fails that save.
  void before_update();
  // A save that cannot even begin; as one that has failed.
  void give_up(int64_t step, const std::string& why);
  // Later saves go to another directory: the run's folder has been renamed. Waits for a save in flight.
  void save_to(std::string directory);
  // Waits until the last save is published; false, on every rank, when it failed.
  bool finish();
  bool failed() const;              // whether the last save that ended failed
  int64_t last_saved_step() const;  // of the newest checkpoint that is whole on disk; -1 while there is none
  double last_seconds() const;      // of writing and pruning in the last save that ended
  int64_t staged_bytes() const;     // in copies now; by the thread that calls save()

 private:
  enum class Job : uint8_t { None, Write, Publish };

  bool alone() const { return ranks_.ranks() == 1; }
  void work();
  void start(Job job);
  void wait_for_thread();
  void run(Job job);
  void reserve_snapshot();
  void begin(const TrainingState& state);
  std::string prepare_folder() const;
  void warn_unsaved(int64_t step, const std::string& why) const noexcept;
  void write();
  void publish_and_prune();
  void fail_save(int64_t step, const std::string& why);

  std::string directory_;
  int64_t keep_, keep_every_steps_;
  bool asynchronous_;
  PieceOptions options_;
  WritePermit permit_;
  Communicator alone_;  // where no others are given
  Communicator& ranks_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  TrainingState state_;
  std::unique_ptr<Snapshot> snapshot_;   // of a GPU's state
  int64_t snapshot_of_ = -1;             // bytes of the state that it was made for
  std::unique_ptr<StatePieces> pieces_;  // of state_; replaced only by save()
  std::string folder_;                   // of files that are not published
  std::vector<RankFile> files_;          // of all ranks
  RankFile own_;
  std::optional<std::string> own_failure_;
  bool concluded_ = true;  // by the caller's thread alone
  Job job_ = Job::None;    // of the thread
  bool stop_ = false, good_ = true;
  int64_t saved_step_ = -1;
  double seconds_ = 0;
  std::thread thread_;
};

}  // namespace gta
