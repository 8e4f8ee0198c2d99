#include "checkpoints/saver.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "checkpoints/reader.h"
#include "checkpoints/writer.h"
#include "core/clock.h"
#include "core/io/file.h"
#include "core/io/hdf5.h"
#include "core/log.h"
#include "core/profiler.h"
#include "core/thread.h"

namespace gta {

void CheckpointSaver::warn_unsaved(int64_t step, const std::exception& error) const noexcept try {
  std::string newest;
  try {
    const std::vector<std::string> saved = list_checkpoints(directory_);
    newest = saved.empty() ? "; none is on disk" : "; the newest on disk is " + saved.back();
  } catch (const Error&) {  // the disk may be away
  }
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error);
  log::warning("the checkpoint of step {} could not be saved: {}{}", step,
               memory ? "the system has no memory left" : error.what(), newest);
} catch (const std::exception&) {  // nor is there any for the warning; finish() says that it failed
}

CheckpointSaver::CheckpointSaver(std::string directory, int64_t keep, int64_t keep_every_steps, bool asynchronous,
                                 PieceOptions options)
    : directory_(std::move(directory)),
      keep_(keep),
      keep_every_steps_(keep_every_steps),
      asynchronous_(asynchronous),
      options_(std::move(options)) {
  hdf5::open_library();
  if (asynchronous_) thread_ = start_thread("saves", [this] { work(); });
}

CheckpointSaver::~CheckpointSaver() {
  if (!asynchronous_) return;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointSaver::save(const TrainingState& state) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !pending_; });
  try {
    state_ = state;
    if (asynchronous_) reserve_snapshot();
    pieces_ = std::make_unique<StatePieces>(state_.ranges, options_, snapshot_.get());
  } catch (const std::exception& error) {  // no memory even for the list
    good_ = false;
    warn_unsaved(state.position.step, error);
    return;
  }
  pending_ = true;
  lock.unlock();
  if (asynchronous_)
    changed_.notify_all();
  else
    write_and_prune();
}

// Asked for once: pinning takes a fraction of a second for each GiB.
void CheckpointSaver::reserve_snapshot() {
  const int64_t bytes = bytes_of(state_.ranges);
  if (bytes == 0 || bytes == snapshot_of_) return;
  pieces_.reset();
  snapshot_.reset();
  snapshot_of_ = bytes;
  const Device device = state_.ranges.front().device;
  if (device.type != DeviceType::Cuda) return;
  const int64_t pinned = std::min({bytes, options_.most_pinned, cpu::device_memory_bytes({}) / 4});
  if (pinned > 0) snapshot_ = GTA_DISPATCH(device, make_snapshot, device, pinned);
  const int64_t room = snapshot_ ? snapshot_->bytes() : 0;
  if (room < bytes)
    log::warning(
        "{} of the state's {} MiB have room in the host's pinned memory: when a save is in flight, the next update "
        "waits for the rest",
        room >> 20, bytes >> 20);
}

void CheckpointSaver::before_update() {
  if (!pieces_) return;
  ProfilerRange range("save");  // beside what save() itself costs the step
  pieces_->stage();
}

void CheckpointSaver::give_up(int64_t step, const std::exception& error) {
  finish();
  std::lock_guard lock(mutex_);
  good_ = false;
  warn_unsaved(step, error);
}

void CheckpointSaver::save_to(std::string directory) {
  finish();
  directory_ = std::move(directory);
}

bool CheckpointSaver::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !pending_; });
  return good_;
}

bool CheckpointSaver::failed() const {
  std::lock_guard lock(mutex_);
  return !good_;
}

int64_t CheckpointSaver::last_saved_step() const {
  std::lock_guard lock(mutex_);
  return saved_step_;
}

double CheckpointSaver::last_seconds() const {
  std::lock_guard lock(mutex_);
  return seconds_;
}

int64_t CheckpointSaver::staged_bytes() const { return pieces_ ? pieces_->staged_bytes() : 0; }

void CheckpointSaver::work() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return pending_ || stop_; });
      if (!pending_) return;
    }
    write_and_prune();  // save() waits while pending_, so state_ is this thread's alone, and pieces_ stays
  }
}

void CheckpointSaver::write_and_prune() {
  const Clock::time_point start = Clock::now();
  const bool good = write();
  const double seconds = seconds_since(start);
  {
    std::lock_guard lock(mutex_);
    good_ = good;
    if (good) saved_step_ = state_.position.step;
    seconds_ = seconds;
    pending_ = false;
  }
  changed_.notify_all();
}

bool CheckpointSaver::write() {
  try {
    // A run's folder that was moved meanwhile is not made again under its old name.
    if (!is_directory(parent_of(directory_))) fail(directory_, "cannot be made: {} is gone", parent_of(directory_));
    write_checkpoint(directory_, state_, *pieces_);
  } catch (const std::exception& error) {
    pieces_->abandon();
    warn_unsaved(state_.position.step, error);
    return false;
  }
  try {
    prune_checkpoints(directory_, keep_, keep_every_steps_);
  } catch (const std::exception& error) {
    log::warning("older checkpoints stay, and take room: {}", error.what());
  }
  return true;
}

}  // namespace gta
