#include "checkpoints/saver.h"

#include <cstring>

#include "checkpoints/writer.h"
#include "core/log.h"

namespace gta {

CheckpointSaver::CheckpointSaver(std::string directory, int64_t keep, int64_t keep_every_steps, bool asynchronous)
    : directory_(std::move(directory)), keep_(keep), keep_every_steps_(keep_every_steps), asynchronous_(asynchronous) {
  if (asynchronous_) thread_ = std::thread([this] { work(); });
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
  if (!asynchronous_) {
    good_ = write(state);
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !pending_; });
  staged_ = state;
  buffers_.resize(state.ranges.size());
  for (size_t i = 0; i < state.ranges.size(); ++i) {
    StateRange& range = staged_.ranges[i];
    buffers_[i].resize(static_cast<size_t>(range.bytes()));
    std::memcpy(buffers_[i].data(), range.data, buffers_[i].size());
    range.data = buffers_[i].data();
  }
  pending_ = true;
  lock.unlock();
  changed_.notify_all();
}

bool CheckpointSaver::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !pending_; });
  return good_;
}

void CheckpointSaver::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return pending_ || stop_; });
    if (!pending_) return;
    lock.unlock();
    // save() waits while pending_, so the staged state is this thread's alone.
    const bool good = write(staged_);
    lock.lock();
    good_ = good;
    pending_ = false;
    changed_.notify_all();
  }
}

bool CheckpointSaver::write(const TrainingState& state) noexcept {
  try {
    write_checkpoint(directory_, state);
  } catch (const std::exception& error) {
    log::warning("the checkpoint of step {} could not be saved: {}; earlier ones are untouched", state.position.step, error.what());
    return false;
  }
  try {
    prune_checkpoints(directory_, keep_, keep_every_steps_);
  } catch (const std::exception& error) {
    log::warning("older checkpoints stay: {}", error.what());
  }
  return true;
}

}  // namespace gta
