#include "checkpoints/saver.h"

#include <chrono>
#include <cstring>

#include "checkpoints/writer.h"
#include "core/log.h"

namespace gta {
namespace {

void warn_unsaved(int64_t step, const std::exception& error) {
  log::warning("the checkpoint of step {} could not be saved: {}; earlier ones are untouched, training goes on", step, error.what());
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

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
    const auto start = std::chrono::steady_clock::now();
    const bool good = write(state);
    ended(good, seconds_since(start));
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !pending_; });
  try {
    stage(state);
  } catch (const std::exception& error) {  // no memory for the copy
    good_ = false;
    warn_unsaved(state.position.step, error);
    return;
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

bool CheckpointSaver::failed() const {
  std::lock_guard lock(mutex_);
  return !good_;
}

double CheckpointSaver::last_seconds() const {
  std::lock_guard lock(mutex_);
  return seconds_;
}

void CheckpointSaver::stage(const TrainingState& state) {
  staged_ = state;
  buffers_.resize(state.ranges.size());
  for (size_t i = 0; i < state.ranges.size(); ++i) {
    StateRange& range = staged_.ranges[i];
    buffers_[i].resize(static_cast<size_t>(range.bytes()));
    if (range.bytes() > 0) std::memcpy(buffers_[i].data(), range.data, buffers_[i].size());
    range.data = buffers_[i].data();
  }
}

void CheckpointSaver::ended(bool good, double seconds) {
  {
    std::lock_guard lock(mutex_);
    good_ = good;
    seconds_ = seconds;
    pending_ = false;
  }
  changed_.notify_all();
}

void CheckpointSaver::work() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return pending_ || stop_; });
      if (!pending_) return;
    }
    // save() waits while pending_, so the staged state is this thread's alone.
    const auto start = std::chrono::steady_clock::now();
    const bool good = write(staged_);
    ended(good, seconds_since(start));
  }
}

bool CheckpointSaver::write(const TrainingState& state) {
  try {
    write_checkpoint(directory_, state);
  } catch (const std::exception& error) {
    warn_unsaved(state.position.step, error);
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
