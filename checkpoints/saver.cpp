#include "checkpoints/saver.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "checkpoints/reader.h"
#include "core/clock.h"
#include "core/comm/verdict.h"
#include "core/io/file.h"
#include "core/io/hdf5.h"
#include "core/log.h"
#include "core/profiler.h"
#include "core/thread.h"

namespace gta {

void CheckpointSaver::warn_unsaved(int64_t step, const std::string& why) const noexcept try {
  std::string newest;
  try {
    const std::vector<std::string> saved = list_checkpoints(directory_);
    newest = saved.empty() ? "; none is on disk" : "; the newest on disk is " + saved.back();
  } catch (const Error&) {  // the disk may be away
  }
  log::warning("the checkpoint of step {} could not be saved: {}{}", step, why, newest);
} catch (const std::exception&) {  // nor is there any for the warning; finish() says that it failed
}

CheckpointSaver::CheckpointSaver(std::string directory, int64_t keep, int64_t keep_every_steps, bool asynchronous,
                                 PieceOptions options, Communicator* ranks, WritePermit permit)
    : directory_(std::move(directory)),
      keep_(keep),
      keep_every_steps_(keep_every_steps),
      asynchronous_(asynchronous),
      options_(std::move(options)),
      permit_(std::move(permit)),
      ranks_(ranks ? *ranks : alone_) {
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
  conclude();
  wait_for_thread();
  if (const std::optional<Error> error = ranks_.attempt("checkpoint", [&] { begin(state); })) {
    fail_save(state.position.step, error->what());
    return;
  }
  concluded_ = alone();
  start(Job::Write);
  if (!asynchronous_) conclude();
}

void CheckpointSaver::begin(const TrainingState& state) try {
  pieces_.reset();
  folder_.clear();
  state_ = state;
  if (asynchronous_) reserve_snapshot();
  pieces_ = std::make_unique<StatePieces>(state_.ranges, options_, snapshot_.get());
  // One rank's thread makes the folder too.
  if (!alone())
    folder_ = ranks_.leads() ? prepare_folder() : temporary_folder(directory_, state_.position.step, permit_.start);
} catch (const std::bad_alloc&) {  // not even for the list
  throw Error(ErrorKind::OutOfMemory, "", what_was_thrown());
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
  // A digit for whether it was written, then why not or the file's entries.
  const std::vector<std::string> words = ranks_.gather_text(
      "files of a checkpoint", own_failure_ ? fmt::format("0{}", *own_failure_) : fmt::format("1{}", to_json(own_)));
  const auto has_failed = [](const std::string& word) { return word.front() == '0'; };
  if (const auto first = std::find_if(words.begin(), words.end(), has_failed); first != words.end()) {
    const auto others = std::count_if(first + 1, words.end(), has_failed);
    return fail_save(
        state_.position.step,
        fmt::format("{}: {}{}", rank_name(ranks_.hosts(), first - words.begin()), first->substr(1),
                    others > 0 ? fmt::format(" (and {} more rank{})", others, others == 1 ? "" : "s") : ""));
  }
  if (!ranks_.leads()) {
    std::lock_guard lock(mutex_);
    good_ = true;  // as far as this rank knows: finish() asks the lead
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

void CheckpointSaver::give_up(int64_t step, const std::string& why) {
  conclude();
  wait_for_thread();
  fail_save(step, why);
}

void CheckpointSaver::save_to(std::string directory) {
  conclude();
  wait_for_thread();
  directory_ = std::move(directory);
}

bool CheckpointSaver::finish() {
  conclude();
  wait_for_thread();
  struct Outcome {
    int64_t good, saved_step;
  };
  const Outcome of_lead = ranks_.gather("checkpoint", Outcome{!failed(), last_saved_step()})[0];
  std::lock_guard lock(mutex_);
  saved_step_ = of_lead.saved_step;
  return good_ = of_lead.good != 0;
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

void CheckpointSaver::fail_save(int64_t step, const std::string& why) {
  if (const std::string folder = std::exchange(folder_, {}); ranks_.leads() && !folder.empty()) gta::give_up(folder);
  if (pieces_) pieces_->abandon();
  if (ranks_.leads()) warn_unsaved(step, why);
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
  permit_.check();
  return prepare(directory_, state_.position.step, permit_.start);
}

void CheckpointSaver::write() {
  own_failure_.reset();
  try {
    if (alone()) folder_ = prepare_folder();
    permit_.check();
    own_ = write_own_file(folder_, ranks_.rank(), ranks_.ranks(), state_, *pieces_);
    permit_.check();  // so that all hear of it at once
  } catch (...) {
    pieces_->abandon();
    own_failure_ = what_was_thrown();
  }
}

void CheckpointSaver::publish_and_prune() {
  const int64_t step = state_.position.step;
  if (alone()) {
    if (own_failure_) return fail_save(step, *own_failure_);
    files_ = {own_};
  }
  try {
    publish(std::exchange(folder_, {}), state_.position, state_.config_yaml, files_, permit_);
  } catch (...) {
    return fail_save(step, what_was_thrown());
  }
  try {
    prune_checkpoints(directory_, keep_, keep_every_steps_, permit_);
  } catch (const std::exception& error) {
    log::warning("older checkpoints stay, and take room: {}", error.what());
  }
  std::lock_guard lock(mutex_);
  good_ = true;
  saved_step_ = step;
}

}  // namespace gta
