#include "launch/training/start.h"

#include <algorithm>
#include <utility>

#include "checkpoints/model_state.h"
#include "core/allocator.h"
#include "core/io/file.h"
#include "core/log.h"
#include "launch/config/history.h"
#include "launch/plan.h"
#include "launch/resume.h"

namespace gta {
namespace {

// The checkpoint's, where it divides the step's batch and fits into this device; note: why it is another one.
int64_t micro_batch_going_on(const RunConfig& before, const Training& training, std::string& note) {
  RunConfig config = training.config;
  const int64_t ranks = training.ranks.communicator.ranks(), batch = config.train.global_batch_size,
                last = config.train.micro_batch_size = before.train.micro_batch_size,
                memory = memory_for_training(training.device_bytes);
  const bool divides = batch % (last * ranks) == 0;
  note.clear();
  if (divides && plan_memory(config.model, training_shape(config, training.device.type, ranks)).total <= memory)
    return last;
  config.train.micro_batch_size = kAutoMicroBatch;
  const int64_t fitting = fitting_micro_batch(config, training.device.type, memory, ranks);
  if (fitting != last)
    note = fmt::format("train.micro_batch_size is auto: {} {}, {} is the largest that does", last,
                       divides ? "does not fit into this device's memory"
                               : fmt::format("{}does not divide train.global_batch_size {}",
                                             ranks > 1 ? fmt::format("x {} ranks ", ranks) : "", batch),
                       fitting);
  return fitting;
}

// A run's length that was given in tokens: those that it has seen may have come in batches of another size.
int64_t steps_until(int64_t tokens, const TrainingPosition& position, const RunConfig& config) {
  const int64_t per_step = config.train.global_batch_size * config.data.sequence_length,
                left = std::max<int64_t>(0, tokens - position.tokens);
  return position.step + (left + per_step - 1) / per_step;
}

// Both before the training gets its memory.
void check_ranges(const Training& training) {
  const std::string problem = too_many_ranges(training.config, training.ranks.communicator.ranks());
  require(problem.empty(), "train.bucket_mib", "{}", problem);
}

// log: of a run that is there already, or "".
void check_memory(const Training& training, Misfit use, const std::string& log, std::vector<std::string>& notes) {
  const std::string problem =
      misfit(training.config, training.device.type, training.device_bytes, training.ranks.communicator.ranks());
  if (problem.empty()) return;
  if (use == Misfit::Try) {
    notes.push_back("--force: " + problem);
    return;
  }
  const Error error(ErrorKind::BadInput, "memory", problem + "; --force starts all the same");
  if (training.ranks.leads()) log::append_to(log, log::Level::Error, error.what());
  throw error;
}

}  // namespace

std::optional<Resumed> resume(Training& training, const std::string& run_dir, const RunFolder* folder, Misfit misfit,
                              std::vector<std::string>& notes) {
  RunConfig& config = training.config;
  Communicator& ranks = training.ranks.communicator;
  const std::string checkpoints = run_dir + "/checkpoints";
  size_t saved = 0;
  std::optional<RunFolder::NotedCheckpoint> noted;
  ranks.together("run's folder", [&] {
    if (!folder) return;
    saved = list_checkpoints(checkpoints).size();
    noted = folder->noted_checkpoint();
    if (noted && saved == 0)
      bad_input(run_dir,
                "has saved checkpoints, the last of step {} in {}, and none is there now: if they lie on a disk that "
                "is not mounted, mount it; or begin anew with --fresh",
                noted->step, noted->directory);
  });

  std::vector<ConfigDifference> changes;
  std::vector<std::string> change_notes;
  std::string init_note, micro_batch_note;
  Looks owed;
  std::vector<std::string> left_behind;
  const bool automatic = config.train.micro_batch_size == kAutoMicroBatch;
  CheckpointUse use;
  use.consider = [&](const Checkpoint& checkpoint) {
    const RunConfig before = parse_run_config(checkpoint.config_yaml(), checkpoint.path() + "/config");
    if (!checkpoint.position().sound && config.optimizer.learning_rate < before.optimizer.learning_rate) {
      left_behind.push_back(checkpoint_name(checkpoint.position().step));
      return false;
    }
    if (automatic) config.train.micro_batch_size = micro_batch_going_on(before, training, micro_batch_note);
    if (training.asked_tokens > 0)
      config.train.steps = steps_until(training.asked_tokens, checkpoint.position(), config);
    // What the run began with is what it began with.
    if (const std::string asked = std::exchange(config.train.init_from, before.train.init_from);
        !asked.empty() && asked != before.train.init_from)
      init_note = fmt::format("train.init_from {} has no effect on a run that goes on", asked);
    changes = check_resume(run_dir, checkpoint, before, config, training.tokenizer, training.data.hash());
    training.position = checkpoint.position();
    change_notes = describe_changes(changes, before, config, training.position);
    if (folder) owed = looks_owed(training, *folder);
    // What is owed others are told when all have this checkpoint.
    if (!training.optimizer && (!training.at_end() || owed.any() || !training.ranks.alone())) {
      check_ranges(training);
      check_memory(training, misfit, run_dir + "/log.txt", notes);
      training.allocate();
    }
    if (training.optimizer)
      checkpoint.check_fits(training_ranges(training.space, *training.optimizer, RangesOf::Updater));
    return true;
  };
  use.load = [&](const Checkpoint& checkpoint) {
    if (training.optimizer)
      load_training(checkpoint, training.space, *training.optimizer);
    else
      checkpoint.verify();  // all that is wanted of it is that it is there
  };
  std::optional<Checkpoint> found = use_newest_good(checkpoints, use, ranks);
  if (!found) {
    ranks.together("run's folder", [&] {
      if (!left_behind.empty())
        bad_input(
            run_dir,
            "has no checkpoint from before its weights diverged: begin anew with --fresh, at the lower learning rate");
      if (saved > 0)
        bad_input(run_dir,
                  "has {} checkpoints, and none is whole: the warnings above say what is damaged; restore one from a "
                  "copy, or begin anew with --fresh",
                  saved);
    });
    return std::nullopt;
  }
  owed = ranks.gather("looks that are owed", owed)[0];  // which the lead knows from the run's folder
  if (training.optimizer) training.gather_weights();
  training.data.sampler.set_order(training.position.order);
  training.history = with_changes(history_of(found->config_yaml()), training.position.step, changes);
  notes.insert(notes.end(), change_notes.begin(), change_notes.end());
  for (const std::string& note : {micro_batch_note, init_note})
    if (!note.empty()) notes.push_back(note);
  if (noted && left_behind.empty() && noted->step > training.position.step)
    notes.push_back(fmt::format("a checkpoint of step {} was saved in {}, and is not there or not whole", noted->step,
                                noted->directory));
  if (!left_behind.empty())
    notes.push_back(
        fmt::format("goes back to {}: the {} after it are not sound, and are now called NAME.set-aside (remove them "
                    "when you like)",
                    found->path(), left_behind.size()));
  return Resumed{std::move(*found), owed, std::move(left_behind)};
}

void begin(Training& training, Misfit misfit, std::vector<std::string>& notes) {
  RunConfig& config = training.config;
  Communicator& ranks = training.ranks.communicator;
  const std::string& init_from = config.train.init_from;
  ranks.together("start", [&] {
    if (config.train.micro_batch_size == kAutoMicroBatch)
      config.train.micro_batch_size =
          fitting_micro_batch(config, training.device.type, memory_for_training(training.device_bytes), ranks.ranks());
    check_ranges(training);
    check_memory(training, misfit, "", notes);
    if (!init_from.empty()) return require(exists(init_from), "train.init_from", "{} does not exist", init_from);
    training.allocate();
    training.space.initialize(static_cast<uint64_t>(config.seed));
  });
  if (init_from.empty()) return;
  CheckpointUse use;
  std::vector<std::string> changes;
  use.consider = [&](const Checkpoint& checkpoint) {
    changes = check_init_from(checkpoint, config, training.tokenizer);
    if (!training.optimizer) training.allocate();
    checkpoint.check_fits(weight_ranges(training.space, RangesOf::Updater));
    return true;
  };
  use.load = [&](const Checkpoint& checkpoint) { load_weights(checkpoint, training.space); };
  const Checkpoint start = use_checkpoint(init_from, use, ranks);
  training.gather_weights();
  notes.push_back("weights from " + start.path());
  notes.insert(notes.end(), changes.begin(), changes.end());
}

}  // namespace gta
