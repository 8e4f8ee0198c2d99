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
                                 PieceOptions options, Communicator* ranks)
    : directory_(std::move(directory)),
      keep_(keep),
      keep_every_steps_(keep_every_steps),
      asynchronous_(asynchronous),
      options_(std::move(options)),
      ranks_(ranks && ranks->ranks() > 1 ? ranks : nullptr) {
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

void CheckpointSaver::together(const char* name, const std::function<void()>& part) {
  if (alone())
    part();
  else
    ranks_->together(name, part);
}

void CheckpointSaver::save(const TrainingState& state) {
  conclude();
  wait_for_thread();
  try {
    together("checkpoint", [&] { begin(state); });
  } catch (const Error& error) {
    if (!alone() && !error.agreed()) throw;
    fail_save(state.position.step, error);
    return;
  } catch (const std::exception& error) {  // no memory even for the list
    if (!alone()) throw;
    fail_save(state.position.step, error);
    return;
  }
  concluded_ = alone();
  start(Job::Write);
  if (!asynchronous_) conclude();
}

void CheckpointSaver::begin(const TrainingState& state) {
  pieces_.reset();
  folder_.clear();
  state_ = state;
  if (asynchronous_) reserve_snapshot();
  pieces_ = std::make_unique<StatePieces>(state_.ranges, options_, snapshot_.get());
  // One rank's thread makes the folder too.
  if (!alone()) folder_ = leads() ? prepare_folder() : temporary_folder(directory_, state_.position.step);
}

CheckpointSaver::OwnFile CheckpointSaver::own_file() const {
  if (concluded_) return OwnFile::None;
  std::lock_guard lock(mutex_);
  return job_ == Job::None ? OwnFile::Ended : OwnFile::Writing;
}

void CheckpointSaver::conclude() {
  if (concluded_) return;
  wait_for_thread();
  concluded_ = true;
  // A digit for whether it was written, then the file's entries or why not.
  const std::vector<std::string> words =
      ranks_->gather_text("files of a checkpoint", own_failure_.empty() ? "1" + to_json(own_) : "0" + own_failure_);
  std::string failures;
  for (size_t rank = 0; rank < words.size(); ++rank)
    if (words[rank].front() == '0')
      failures += fmt::format("{}rank {} ({}): {}", failures.empty() ? "" : "; ", rank, ranks_->hosts()[rank],
                              words[rank].substr(1));
  if (!failures.empty()) {
    if (leads()) gta::give_up(folder_);
    fail_save(state_.position.step, std::runtime_error(failures));
    return;
  }
  if (!leads()) {
    std::lock_guard lock(mutex_);
    good_ = true;  // as far as this rank knows
    saved_step_ = state_.position.step;
    return;
  }
  files_.clear();
  for (size_t rank = 0; rank < words.size(); ++rank)
    files_.push_back(parse_rank_file(words[rank].substr(1), fmt::format("what rank {} wrote", rank)));
  start(Job::Publish);
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
  conclude();
  wait_for_thread();
  fail_save(step, error);
}

void CheckpointSaver::save_to(std::string directory) {
  conclude();
  wait_for_thread();
  directory_ = std::move(directory);
}

bool CheckpointSaver::finish() {
  conclude();
  wait_for_thread();
  if (!alone()) {
    const int64_t good = ranks_->gather("checkpoint", int64_t{!failed()})[0];
    std::lock_guard lock(mutex_);
    good_ = good != 0;
  }
  return !failed();
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

void CheckpointSaver::fail_save(int64_t step, const std::exception& error) {
  if (pieces_) pieces_->abandon();
  if (leads()) warn_unsaved(step, error);
  std::lock_guard lock(mutex_);
  good_ = false;
}

void CheckpointSaver::start(Job job) {
  if (!asynchronous_) return run(job);
  {
    std::lock_guard lock(mutex_);
    job_ = job;
  }
  changed_.notify_all();
}

void CheckpointSaver::wait_for_thread() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return job_ == Job::None; });
}

void CheckpointSaver::work() {
  while (true) {
    Job job = Job::None;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return job_ != Job::None || stop_; });
      job = job_;
    }
    if (job == Job::None) return;
    run(job);  // save() waits for it: the state is this thread's alone, and pieces_ stays
    {
      std::lock_guard lock(mutex_);
      job_ = Job::None;
    }
    changed_.notify_all();
  }
}

void CheckpointSaver::run(Job job) {
  const Clock::time_point start = Clock::now();
  if (job == Job::Write) write();
  if (job == Job::Publish || alone()) publish_and_prune();
  std::lock_guard lock(mutex_);
  seconds_ = (job == Job::Publish ? seconds_ : 0) + seconds_since(start);
}

// Makes the folder of the ranks' files.
std::string CheckpointSaver::prepare_folder() const {
  // A run's folder that was moved meanwhile is not made again under its old name.
  if (!is_directory(parent_of(directory_))) fail(directory_, "cannot be made: {} is gone", parent_of(directory_));
  return prepare(directory_, state_.position.step);
}

void CheckpointSaver::write() {
  own_failure_.clear();
  try {
    if (alone()) folder_ = prepare_folder();
    own_ = write_own_file(folder_, alone() ? 0 : ranks_->rank(), alone() ? 1 : ranks_->ranks(), state_, *pieces_);
  } catch (const std::bad_alloc&) {
    pieces_->abandon();
    own_failure_ = "the system has no memory left";
  } catch (const std::exception& error) {
    pieces_->abandon();
    own_failure_ = error.what();
    if (own_failure_.empty()) own_failure_ = "an error without a message";
  }
}

void CheckpointSaver::publish_and_prune() {
  const int64_t step = state_.position.step;
  try {
    if (alone()) {
      files_ = {own_};
      if (!own_failure_.empty()) {
        if (!folder_.empty()) gta::give_up(folder_);
        throw std::runtime_error(own_failure_);
      }
    }
    publish(folder_, state_.position, state_.config_yaml, files_);
  } catch (const std::exception& error) {
    fail_save(step, error);
    return;
  }
  try {
    prune_checkpoints(directory_, keep_, keep_every_steps_);
  } catch (const std::exception& error) {
    log::warning("older checkpoints stay, and take room: {}", error.what());
  }
  std::lock_guard lock(mutex_);
  good_ = true;
  saved_step_ = step;
}

}  // namespace gta
