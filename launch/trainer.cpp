#include "launch/trainer.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "checkpoints/writer.h"
#include "core/clock.h"
#include "core/comm/gpu_transport.h"
#include "core/gemm.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/measure/peak.h"
#include "core/profiler.h"
#include "data/utf8.h"
#include "launch/environment.h"
#include "launch/plan.h"
#include "launch/profile_report.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/signals.h"
#include "launch/train_hooks.h"
#include "launch/training/agreement.h"
#include "launch/training/announcement.h"
#include "launch/training/initial_values.h"
#include "launch/training/looks.h"
#include "launch/training/replicas.h"
#include "launch/training/run_saver.h"
#include "launch/training/slow_ranks.h"
#include "launch/training/start.h"
#include "launch/training/step.h"

namespace gta {
namespace {

// Of this rank.
bool signal_came() { return stop_requested() != 0; }

class Trainer {
 public:
  Trainer(const LoadedRun& run, const TrainOptions& options, const Ranks& ranks, const TrainHooks& hooks)
      : training_(run.config, device_of_rank(ranks.communicator, options.device), ranks),
        stop_(ranks),
        options_(options),
        hooks_(hooks),
        run_dir_(options.run_dir.empty() ? "runs/" + run.config.name : options.run_dir) {
    require(
        find_bad_utf8(to_yaml(training_.config)) < 0 && find_bad_utf8(run_dir_) < 0, "train",
        "the path of the data or of the run is not UTF-8, which a run's configuration has to be: rename the folder");
    training_.asked_tokens = run.tokens;
    check_prompts(training_);
    for (const std::string& key : run.unused_attention_keys)
      notes_.push_back(fmt::format("model.{} is not used by attention.type {}", key,
                                   name_of(training_.config.model.attention.type)));
  }

  TrainResult run() {
    cpu::check_products();
    // What an earlier training in this process left is not this one's.
    release_pooled_memory(training_.device);
    reset_memory_peak(training_.device);
    compare_ranks(training_,
                  fmt::format("--run-dir {}{}", run_dir_, options_.use == FolderUse::Fresh ? " --fresh" : ""));
    connect_gpus(ranks_.communicator, training_.device, training_.config.train.gpu_transport);
    training_.device_bytes = least_share_of_device();
    // The lock of a folder that is there comes first: while the resume point is chosen nobody saves, prunes or goes on
    // there.
    together("run's folder", [&] { lock_folder(); });
    const bool fresh = options_.use == FolderUse::Fresh,
               found = ranks_.communicator.gather("run's folder", int64_t{folder_.has_value()})[0] != 0;
    std::optional<Resumed> resumed;
    if (found && !fresh) resumed = resume(training_, run_dir_, folder(), options_.misfit, notes_);
    const TrainingPosition& position = training_.position;
    const int64_t steps = training_.config.train.steps;
    if (resumed && training_.at_end() && !resumed->owed.any()) {
      const std::string said = fmt::format("nothing to do: {} has all {} steps", resumed->checkpoint.path(), steps);
      log::info("{}", said);
      if (ranks_.leads()) log::append_to(log_file(), log::Level::Info, said);
      return {TrainOutcome::NothingToDo, run_dir_, position.step};
    }
    if (!resumed) begin(training_, options_.misfit, notes_);
    replicas_.emplace(training_);
    for (std::string& note : what_has_no_effect(training_)) notes_.push_back(std::move(note));

    struct Detach {
      ~Detach() { log::detach_file(); }
    } detach;
    // Everything fits; from here on files are written.
    together("run's folder", [&] {
      if (ranks_.leads()) prepare_folder(resumed);
    });
    join_lead();

    flops_per_token_ =
        plan_model(training_.config.model, training_.config.data.sequence_length).flops_per_token_training;
    peak_ = 0;
    const double own_peak = measure_peak_flops(training_.config.train.dtype, training_.device);
    for (double of_rank : ranks_.communicator.gather("peak", own_peak)) peak_ += of_rank;
    // What initialising, loading and measuring took in passing is no part of a step.
    release_pooled_memory(training_.device);
    reset_memory_peak(training_.device);
    // What it cannot have is said before "begins".
    together("checkpoints", [&] {
      saver_.emplace(training_, folder(), fence_, run_dir_ + "/checkpoints", resumed ? position.step : -1);
    });
    if (ranks_.leads()) say_what_begins(resumed);
    end_if_overtaken();
    return loop(resumed ? resumed->owed : looks_due(training_));
  }

  bool has_begun() const { return steps_concluded_ > 0; }

  // After an error. Where memory has changed by itself, what was saved since it was seen to be right is set aside; how
  // the run is to go on from before that, if it is to. All ranks.
  std::optional<FolderUse> leave_damage_behind() {
    if (!replicas_ || !replicas_->found_damage()) return std::nullopt;
    saver_->finish();
    int64_t left = 0;
    together("damaged checkpoints", [&] {
      if (!ranks_.leads()) return;
      std::vector<std::string> names;
      for (const std::string& name : list_checkpoints(folder_->checkpoints()))
        if (step_of(name) > replicas_->sound_step()) names.push_back(name);
      set_aside(folder_->checkpoints(), names, {fence_->number(), [&] { fence_->check(); }});
      for (const std::string& name : names)
        log::warning("{} may hold what was found, and is now called {}.set-aside", name, name);
      left = static_cast<int64_t>(list_checkpoints(folder_->checkpoints()).size());
    });
    left = ranks_.communicator.gather("checkpoints that are left", left)[0];
    if (training_.config.train.on_damage == OnDamage::Stop) return std::nullopt;
    return left > 0 ? FolderUse::Resume : FolderUse::Fresh;
  }

  // What ended it, for its log; whoever catches it tells the user.
  void note_end(const std::string& error) const {
    std::istringstream lines(error);
    const bool logs = logs_ && !fence_->overtaken();
    for (std::string line; logs && std::getline(lines, line);) log::append_to(log_file(), log::Level::Error, line);
  }

 private:
  int64_t least_share_of_device() const {
    Communicator& ranks = ranks_.communicator;
    const int64_t sharing = ranks_that_share(ranks, training_.device);
    const std::vector<int64_t> shares = ranks.gather("memory", memory_report(training_.device).limit / sharing);
    return *std::min_element(shares.begin(), shares.end());
  }

  RunFolder* folder() { return folder_ ? &*folder_ : nullptr; }

  template <class Part>
  void together(const char* name, Part&& part) {
    ranks_.communicator.together(name, part);
  }

  void lock_folder() {
    if (!ranks_.leads() || !exists(run_dir_)) return;
    if (!is_run_folder(run_dir_))
      bad_input(run_dir_, "holds files and is not the folder of a run: name one that is new or empty (--run-dir)");
    open_folder();
  }

  // Its number is taken with it.
  void open_folder() {
    folder_.emplace(run_dir_, hooks_.folder_lock);
    fence_ = folder_->fence();
    fence_->before_look = hooks_.before_look_at_fence;
  }

  void prepare_folder(const std::optional<Resumed>& resumed) {
    if (folder_) fence_->check();
    if (folder_ && options_.use == FolderUse::Fresh) {
      notes_.push_back("the earlier run is now " + move_aside(run_dir_));  // under its lock
      folder_.reset();
    }
    if (!folder_) {
      open_folder();
      if (!list_checkpoints(folder_->checkpoints()).empty())
        fail(run_dir_, "was made by another process just now: run the command again");
    }
    folder_->make_folders();
    log_to_file(log::Level::Debug);
    if (resumed) set_aside(folder_->checkpoints(), resumed->left_behind, {fence_->number(), [&] { fence_->check(); }});
    fence_->check();
    publish_text(folder_->config_file(), training_.config_text());
    const std::string environment = run_dir_ + "/environment.json";
    if (resumed)
      for (const std::string& change :
           changes_since(environment, training_.device, training_.config.optimizer.schedule.type))
        notes_.push_back(change);
    fence_->check();
    publish_text(environment, environment_json(training_.device));
    if (!resumed) {
      fence_->check();
      publish_text(run_dir_ + "/initial.json", initial_values_json(training_));
    }
    folder_->begin(training_.position.step);
  }

  // The other ranks learn the start's number, and write into the folder from here on.
  void join_lead() {
    const int64_t number = ranks_.communicator.gather("start's number", fence_ ? fence_->number() : 0)[0];
    together("run's folder", [&] {
      if (ranks_.leads()) return;
      fence_ = std::make_shared<Fence>(run_dir_, number);
      fence_->before_look = hooks_.before_look_at_fence;
      if (options_.own_logs) log_to_file(log::Level::Warning);
    });
  }

  void log_to_file(log::Level least) {
    log::attach_file(log_file(), least, [fence = fence_] { return !fence->overtaken(); });
    logs_ = true;
  }

  // All ranks. Where any has seen a later start of this run, all end here. What a save has begun goes; it has a name of
  // its own.
  void end_if_overtaken() {
    const std::vector<std::string> seen = ranks_.communicator.gather_text("fence", fence_->taken_over());
    const auto first = std::find_if(seen.begin(), seen.end(), [](const std::string& text) { return !text.empty(); });
    if (first == seen.end()) return;
    fence_->believe(*first);
    progress_.interrupt();
    if (saver_) saver_->finish();
    fail_alike(folder_ ? folder_->path() : run_dir_, "{}", *first);
  }

  void say_what_begins(const std::optional<Resumed>& resumed) {
    const TrainConfig& train = training_.config.train;
    announce(training_, peak_);
    warn_of_room(training_, folder_->checkpoints());
    if (resumed)
      log::info("resumes  {} (step {} of {})", resumed->checkpoint.path(), training_.position.step, train.steps);
    else
      log::info("begins   {} steps of {} sequences, {} at once{}, in {}", train.steps, train.global_batch_size,
                train.micro_batch_size, ranks_.alone() ? "" : " on each rank", run_dir_);
    for (const std::string& note : notes_) log::info("note     {}", note);
  }

  // owed: looks that come before the first step.
  TrainResult loop(Looks owed) {
    const TrainConfig& train = training_.config.train;
    const TrainingPosition& position = training_.position;
    TrainingStep step(training_, hooks_);
    Profiler profiler;
    const int64_t first_step = position.step;
    take(owed);
    start_ = concluded_ = Clock::now();
    const bool profiles = options_.profile_steps > 0 && ranks_.leads();
    if (profiles) profiler.start(training_.device);
    std::optional<QueuedStep> before;  // the step that the device may still be working on
    while (!training_.at_end()) {
      if (before && diagnosis_follows(training_)) show(conclude(*std::exchange(before, {})), false);
      std::optional<QueuedStep> queued = make_step(step, before);
      if (before) show(conclude(*before), false);
      before = std::exchange(queued, {});
      if (!before) {
        stop();
        break;
      }

      const bool last = training_.at_end();
      const bool profiled =
          profiles && position.step - first_step == std::min(options_.profile_steps, train.steps - first_step);
      const bool stops = stop_.asked();
      const bool saves = last || stops || training_.due(train.checkpoint.every_steps);
      // A run that is to stop does not look any more; whoever goes on from its checkpoint does.
      const Looks looks = stops && !last ? Looks{} : looks_due(training_);
      // Nothing is gained by running ahead of a CPU.
      if (training_.device.type == DeviceType::Cuda && !(profiled || looks.any() || saves)) continue;
      StepReport report = conclude(*std::exchange(before, {}));
      if (saves) saver_->save();  // before anyone looks
      if (profiled)
        look(ranks_, "profile", position.step, [&] {
          profiler.stop();
          if (!fence_->may_write()) return;
          report_profile(profiler, folder_->path() + "/profile.json");
          log::info("memory   {}", describe(memory_report(training_.device)));
        });
      if (looks.validation) {
        progress_.interrupt();
        take({.validation = true});
        if (validated_) report.validation_loss = validated_->loss;
      }
      show(report, last);
      if (last) progress_.interrupt();
      take({.sample = looks.sample});
      concluded_ = Clock::now();
      if (stop_.asked() && (!last || stopped_)) {
        stop();
        break;
      }
    }
    return finish();
  }

  TrainResult finish() {
    training_.parallel->finish_weights();
    ranks_.watchdog.at(training_.position.step, "finishes its checkpoint");
    const bool saved = saver_->finish();
    const int64_t own = !folder_ || folder_->flush_metrics() ? 1 : 0;
    const bool has_rows = ranks_.communicator.gather("rows of the metrics", own)[0] != 0;
    end_if_overtaken();
    if (!saved) fail_alike("checkpoint", "the last one could not be saved: see the warning above");
    if (!has_rows) {
      const std::string lost =
          "rows of metrics.jsonl or of tensorboard/ could not be written, and are lost: see the warning above";
      if (!stopped_) fail_alike(run_dir_, "the training is whole and saved, but {}", lost);
      log::warning("{}: {}", run_dir_, lost);  // the exit code says that there is more to do
    }
    if (!stopped_) log::info("done: {} after {} steps", folder_ ? folder_->path() : run_dir_, training_.position.step);
    TrainResult result{stopped_ ? TrainOutcome::Interrupted : TrainOutcome::Finished,
                       folder_ ? folder_->path() : run_dir_, training_.position.step};
    result.loss = loss_;
    if (validated_) {
      result.validation_loss = validated_->loss;
      result.validation_bits_per_byte = validated_->bits_per_byte;
    }
    return result;
  }

  // Nothing where a stop was asked for in the middle. before: the step before, if it has not been concluded yet.
  std::optional<QueuedStep> make_step(TrainingStep& step, std::optional<QueuedStep>& before) {
    ProfilerRange range("step");
    std::optional<StepLosses> losses;
    std::exception_ptr failure;
    const Clock::time_point start = Clock::now();
    StepCommunication said;
    const Communicator::Traffic traffic = ranks_.communicator.traffic();
    training_.parallel->take_seconds_waited();
    training_.parallel->take_device_waits();
    try {
      losses = step.add_gradients([&] { return stop_.asked_midway(); });
    } catch (...) {
      failure = std::current_exception();
    }
    if (!failure && !losses) return std::nullopt;
    StepVote vote{.signal = stop_requested(),
                  .failed = failure ? 1 : 0,
                  .overtaken = fence_->taken_over().empty() ? 0 : 1,
                  .file = saver_->checkpoints().own_file()};
    said.seconds_waited = training_.parallel->take_seconds_waited();
    vote.computed_seconds = seconds_since(start) - said.seconds_waited;
    step.finish_gradients();
    const StepAgreement all = agree(ranks_.communicator, vote);
    if (all.overtaken) end_if_overtaken();
    if (all.failed) try {
        together("gradients", [&] {
          if (failure) std::rethrow_exception(failure);
        });
      } catch (...) {
        rescue(std::exchange(before, {}));
        throw;
      }
    stop_.agree_on(all.signal);
    if (all.files_ended) saver_->checkpoints().conclude();
    const auto slowest = std::max_element(all.computed_seconds.begin(), all.computed_seconds.end());
    said.slowest_rank = slowest - all.computed_seconds.begin();
    if (ranks_.leads())
      if (const std::string slow = slow_ranks_.add(all.computed_seconds, seconds_since(start_)); !slow.empty())
        log::warning("{}", slow);
    std::optional<Diagnosis> diagnosis;
    if (diagnosis_follows(training_))
      look(ranks_, "diagnosis", training_.position.step, [&] { diagnosis.emplace(step.diagnose()); });
    replicas_->before_update();
    std::optional<QueuedStep> queued =
        step.update(*losses, saver_->checkpoints(), diagnosis ? std::addressof(*diagnosis) : nullptr);
    if (diagnosis)
      look(ranks_, "diagnosis", training_.position.step - 1, [&] {
        const DiagnosisRow row = diagnosis->row();
        if (folder_) folder_->add_metrics(row);
      });
    if (training_.due(training_.config.train.verify_replicas_every_steps)) {
      training_.parallel->finish_weights();
      replicas_->after_update();
    }
    said.seconds_waited += training_.parallel->take_seconds_waited();
    said.device_waits = training_.parallel->take_device_waits();
    const auto& [bytes, seconds] = ranks_.communicator.traffic();
    said.traffic = {bytes - traffic.bytes, seconds - traffic.seconds};
    queued->communication = std::move(said);
    return queued;
  }

  // All ranks.
  void take(const Looks& looks) {
    if (!looks.any()) return;
    const int64_t step = training_.position.step;
    training_.parallel->finish_weights();
    if (looks.validation)
      look(ranks_, "validation", step, [&] {
        if (const auto result = validate(training_, folder(), signal_came))
          validated_ = result;
        else
          stopped_ = true;
      });
    if (looks.sample)
      look(ranks_, "sample", step, [&] {
        if (!sample(training_, folder(), signal_came)) stopped_ = true;
      });
    stop_.agree();
  }

  // At a signal: the state is saved, and the program ends.
  void stop() {
    const int signal = stop_.now();
    progress_.interrupt();
    if (!saver_->is_saved()) saver_->save();
    const bool saved = saver_->finish();
    end_if_overtaken();
    if (!saved) fail_alike("checkpoint", "could not be saved after signal {}: see the warning above", signal);
    log::info("stopped by signal {} after step {}; run the same command again{} to go on", signal,
              training_.position.step, where_it_is("with"));
    stopped_ = true;
  }

  // What the same command needs beside, to go on with this run: its folder may have been renamed.
  std::string where_it_is(const char* word) {
    if (!folder_) return "";
    try {
      folder_->follow();
    } catch (const Error&) {  // it is gone, or away
    }
    const std::string& now = folder_->path();
    return now == run_dir_ ? "" : fmt::format(" {} --run-dir '{}'", word, now);
  }

  // A step's gradients could not be computed (a shard that cannot be read any more, no memory): the weights are those
  // of the step before, and worth keeping. What went wrong is thrown on by whoever calls. All ranks.
  void rescue(const std::optional<QueuedStep>& before) {
    const int64_t step = training_.position.step;
    look(ranks_, "checkpoint", step, [&] {
      if (before) conclude(*before);
      if (!saver_->is_saved()) saver_->save();
      if (saver_->finish()) log::info("the state after step {} is saved", step);
    });
  }

  void show(const StepReport& report, bool important) {
    if (ranks_.leads()) progress_.show(report, training_.config.train.log_every_steps, important);
  }

  // Waits for the step, and says what became of it.
  StepReport conclude(const QueuedStep& step) {
    const UpdateOutcome outcome(step.outcome);
    training_.position.updates = outcome.updates;
    if (outcome.applied)
      training_.position.consecutive_skipped = 0;
    else
      skip(step, outcome);
    loss_ = outcome.loss;
    saver_->note_saved();

    const Clock::time_point now = Clock::now();
    StepReport report;
    report.row.step = step.step;
    report.steps = training_.config.train.steps;
    report.row.tokens = step.tokens;
    report.row.loss = outcome.loss;
    report.row.learning_rate = step.learning_rate;
    report.row.gradient_norm = outcome.gradient_norm;
    report.row.step_seconds = std::chrono::duration<double>(now - std::exchange(concluded_, now)).count();
    report.row.tokens_per_second = static_cast<double>(training_.tokens_per_step()) / report.row.step_seconds;
    report.row.flops_per_second = report.row.tokens_per_second * flops_per_token_;
    report.row.sol = report.row.flops_per_second / peak_;
    report.row.data_wait_seconds = step.data_wait_seconds;
    const StepCommunication& said = step.communication;
    report.row.communication_seconds = said.seconds_waited + said.device_waits.seconds();
    report.row.communication_bytes = static_cast<double>(said.traffic.bytes);
    report.row.communication_busy_seconds = said.traffic.seconds;
    report.row.slowest_rank = static_cast<double>(said.slowest_rank);
    report.row.memory_bytes = memory_report(training_.device).reserved_peak;
    if (validated_) report.validation_loss = validated_->loss;
    steps_concluded_ += 1;
    report.seconds_left = seconds_since(start_) / static_cast<double>(steps_concluded_) *
                          static_cast<double>(report.steps - report.row.step);
    if (folder_) folder_->add_metrics(report.row);
    return report;
  }

  void skip(const QueuedStep& step, const UpdateOutcome& outcome) {
    TrainingPosition& position = training_.position;
    ++position.skipped_steps;
    ++position.consecutive_skipped;
    log::warning("step {} skipped: loss {}, gradient norm {} ({} in a row, {} in all); the weights are unchanged",
                 step.step, outcome.loss, outcome.gradient_norm, position.consecutive_skipped, position.skipped_steps);
    if (position.consecutive_skipped < training_.config.train.max_skipped_steps) return;
    saver_->finish();
    const std::optional<std::string> sound = folder_ ? find_newest_sound(folder_->checkpoints()) : std::nullopt;
    fail_alike("train",
               "{} steps in a row were not finite (train.max_skipped_steps): look at the data before sample {}, or {}",
               position.consecutive_skipped, step.first_sample + training_.config.train.global_batch_size,
               sound
                   ? fmt::format("run the same command with a lower optimizer.learning_rate{}: it then goes on from "
                                 "{}, the last checkpoint before them",
                                 where_it_is("and"), *sound)
                   : "begin anew with --fresh and a lower optimizer.learning_rate: there is no checkpoint from before "
                     "the weights diverged");
  }

  std::string log_file() const {
    if (!ranks_.leads()) return fmt::format("{}/rank-{:04}.txt", run_dir_, ranks_.communicator.rank());
    return (folder_ ? folder_->path() : run_dir_) + "/log.txt";
  }

  Training training_;
  const Ranks& ranks_ = training_.ranks;
  StopSignal stop_;
  TrainOptions options_;
  TrainHooks hooks_;
  std::string run_dir_;
  std::vector<std::string> notes_;
  std::optional<RunFolder> folder_;  // the lead's
  std::shared_ptr<Fence> fence_;     // from the folder's first use on
  std::optional<ReplicaCheck> replicas_;
  std::optional<RunSaver> saver_;  // after what it reads
  bool stopped_ = false;           // by a signal, and something is left for whoever goes on
  bool logs_ = false;              // whether log_file() is this training's
  Progress progress_;
  SlowRanks slow_ranks_{ranks_.communicator.hosts()};
  std::optional<ValidationResult> validated_;
  double loss_ = 0;
  double flops_per_token_ = 0, peak_ = 1;
  Clock::time_point start_, concluded_;  // of the loop; when the last step was read
  int64_t steps_concluded_ = 0;
};

}  // namespace

TrainResult train(const LoadedRun& run, const TrainOptions& options, const Ranks& ranks, const TrainHooks& hooks) {
  struct Forget {
    ~Forget() { forget_stop_request(); }  // it was this training's
  } forget;
  constexpr int kMostRestores = 3;  // memory that changes more often is not worth training on
  TrainOptions now = options;
  for (int restores = 0;; ++restores) {
    std::optional<Trainer> trainer;
    ranks.communicator.together("data", [&] { trainer.emplace(run, now, ranks, hooks); });
    try {
      return trainer->run();
    } catch (const Error& error) {
      trainer->note_end(error.what());
      const std::optional<FolderUse> use = trainer->leave_damage_behind();
      if (!use || restores == kMostRestores) throw trainer->has_begun() ? error.underway() : error;
      log::warning("{}; {}", error.what(),
                   *use == FolderUse::Resume ? "goes back to the newest checkpoint from before"
                                             : "begins anew, since no checkpoint is from before");
      now.use = *use;
    } catch (...) {
      trainer->note_end(what_was_thrown());
      throw;
    }
  }
}

TrainResult train(const LoadedRun& run, const TrainOptions& options, const TrainHooks& hooks) {
  OneRank alone;
  return train(run, options, alone.ranks(), hooks);
}

TrainResult train(const LoadedRun& run, const TrainOptions& options, const Ranks& ranks) {
  return train(run, options, ranks, {});
}

TrainResult train(const LoadedRun& run, const TrainOptions& options) { return train(run, options, TrainHooks{}); }

}  // namespace gta
