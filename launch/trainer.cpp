#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "bench/peak.h"
#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"
#include "checkpoints/saver.h"
#include "checkpoints/writer.h"
#include "core/gemm.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/profiler.h"
#include "data/loader.h"
#include "data/utf8.h"
#include "launch/diagnose.h"
#include "launch/environment.h"
#include "launch/evaluate.h"
#include "launch/plan.h"
#include "launch/profile_report.h"
#include "launch/progress.h"
#include "launch/resume.h"
#include "launch/run_folder.h"
#include "launch/sampling.h"
#include "launch/signals.h"
#include "launch/train_hooks.h"
#include "optim/schedule.h"

namespace gta {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Weights whose root mean square is beyond this have diverged: matrices begin near 0.02, norms at 1, and trained ones
// stay near that.
constexpr double kLargestWeights = 10;

double root_mean_square(const ParameterSpace& space) {
  const double squares = space.sum_of_squares(space.masters()).to_vector<double>()[0];
  return std::sqrt(squares / static_cast<double>(space.parameter_count()));
}

class Trainer {
 public:
  Trainer(const LoadedRun& run, const TrainOptions& options, const TrainHooks& hooks)
      : config_(run.config),
        options_(options),
        hooks_(hooks),
        device_(device_from_name(options.device)),
        tokenizer_(Tokenizer::load(run.config.data.tokenizer)),
        data_(open_training_data(run.config.data, tokenizer_, static_cast<uint64_t>(run.config.seed))) {
    resolve_vocabulary();
    if (!config_.data.validation.empty())
      validation_ = EvaluationSet::from_shards(config_.data.validation, tokenizer_, config_.data.sequence_length,
                                               config_.train.validation_tokens);
    run_dir_ = options.run_dir.empty() ? "runs/" + config_.name : options.run_dir;
    require(
        find_bad_utf8(to_yaml(config_)) < 0 && find_bad_utf8(run_dir_) < 0, "train",
        "the path of the data or of the run is not UTF-8, which a run's configuration has to be: rename the folder");
    model_.emplace(space_, config_.model);
    // What only looks is checked here, before anything is started.
    for (const std::string& prompt : config_.train.sample_prompts) try {
        prompt_tokens(config_.model, tokenizer_, prompt);
      } catch (const Error& error) {
        bad_input("train.sample_prompts", "'{}' cannot be continued: {}", prompt.substr(0, 60), error.what());
      }
    for (const std::string& key : run.unused_attention_keys)
      notes_.push_back(
          fmt::format("model.{} is not used by attention.type {}", key, name_of(config_.model.attention.type)));
  }

  TrainResult run() {
    cpu::check_products();
    // The lock of a folder that is there comes first: while the resume point is chosen nobody saves, prunes or goes on
    // there.
    if (exists(run_dir_)) {
      if (!is_run_folder(run_dir_))
        bad_input(run_dir_, "holds files and is not the folder of a run: name one that is new or empty (--run-dir)");
      folder_.emplace(run_dir_);
    }
    const bool fresh = options_.use == FolderUse::Fresh;
    std::optional<Checkpoint> resumed;
    if (folder_ && !fresh) resumed = go_on();
    if (resumed && position_.step >= config_.train.steps && !owed_.validation && !owed_.sample) {
      log::info("nothing to do: {} has all {} steps", resumed->path(), config_.train.steps);
      return {TrainOutcome::NothingToDo, run_dir_, position_.step};
    }
    if (!resumed) begin();
    release_pooled_memory(device_);  // what initialising or loading took in passing
    note_what_has_no_effect();

    // Everything fits; from here on files are written.
    if (folder_ && fresh) {
      notes_.push_back("the earlier run is now " + move_aside(run_dir_));  // under its lock
      folder_.reset();
    }
    if (!folder_) {
      folder_.emplace(run_dir_);
      if (!list_checkpoints(folder_->checkpoints()).empty())
        fail(run_dir_, "was made by another process just now: run the command again");
    }
    folder_->make_folders();
    log::attach_file(run_dir_ + "/log.txt");
    struct Detach {
      ~Detach() { log::detach_file(); }
    } detach;
    set_aside(folder_->checkpoints(), left_behind_);
    publish_text(folder_->config_file(), to_yaml(config_));
    const std::string environment = run_dir_ + "/environment.json";
    if (resumed)
      for (const std::string& change : changes_since(environment, device_, config_.optimizer.schedule.type))
        notes_.push_back(change);
    publish_text(environment, environment_json(device_));
    folder_->begin(position_.step);
    announce(resumed);
    return loop();
  }

  bool has_begun() const { return steps_concluded_ > 0; }

 private:
  void resolve_vocabulary() {
    ModelConfig& model = config_.model;
    const int64_t pieces = tokenizer_.vocab_size();
    if (model.vocab_size == 0)
      model.vocab_size = (pieces + model.vocab_multiple - 1) / model.vocab_multiple * model.vocab_multiple;
    require(model.vocab_size >= pieces, "model.vocab_size",
            "{} is smaller than the tokenizer's {} pieces: leave it out or raise it", model.vocab_size, pieces);
  }

  // From the newest good checkpoint of the run's folder, if this configuration may go on from it; nothing when there is
  // none. What was chosen stays chosen: another micro-batch would round sums in another order. With a lower learning
  // rate the run goes back behind what is not sound: that is what the message of a run that ended in skipped steps
  // advises.
  std::optional<Checkpoint> go_on() {
    const size_t saved = list_checkpoints(folder_->checkpoints()).size();
    const std::optional<RunFolder::NotedCheckpoint> noted = folder_->noted_checkpoint();
    if (noted && saved == 0)
      bad_input(run_dir_,
                "has saved checkpoints, the last of step {} in {}, and none is there now: if they lie on a disk that "
                "is not mounted, mount it; or begin anew with --fresh",
                noted->step, noted->directory);
    std::vector<std::string> notes;
    CheckpointUse use;
    use.consider = [&](const Checkpoint& checkpoint) {
      const RunConfig before = parse_run_config(checkpoint.config_yaml(), checkpoint.path() + "/config");
      if (!checkpoint.position().sound && config_.optimizer.learning_rate < before.optimizer.learning_rate) {
        left_behind_.push_back(checkpoint_name(checkpoint.position().step));
        return false;
      }
      if (config_.train.micro_batch_size == kAutoMicroBatch)
        config_.train.micro_batch_size = before.train.micro_batch_size;
      notes = check_resume(run_dir_, checkpoint, before, config_, tokenizer_, data_.hash());
      position_ = checkpoint.position();
      owed_ = looks_owed();
      if (!optimizer_ && (position_.step < config_.train.steps || owed_.validation || owed_.sample)) allocate();
      if (optimizer_) checkpoint.check_fits(training_ranges(space_, *optimizer_, RangesOf::Updater));
      return true;
    };
    use.load = [&](const Checkpoint& checkpoint) {
      if (optimizer_)
        load_training(checkpoint, space_, *optimizer_);
      else
        checkpoint.verify();  // all that is wanted of it is that it is there
    };
    std::optional<Checkpoint> found = use_newest_good(folder_->checkpoints(), use);
    if (!found && !left_behind_.empty())
      bad_input(
          run_dir_,
          "has no checkpoint from before its weights diverged: begin anew with --fresh, at the lower learning rate");
    if (!found && saved > 0)
      bad_input(run_dir_,
                "has {} checkpoints, and none is whole: the warnings above say what is damaged; restore one from a "
                "copy, or begin anew with --fresh",
                saved);
    notes_.insert(notes_.end(), notes.begin(), notes.end());
    if (found) saved_step_ = found->position().step;
    if (found && noted && left_behind_.empty() && noted->step > found->position().step)
      notes_.push_back(fmt::format("a checkpoint of step {} was saved in {}, and is not there or not whole",
                                   noted->step, noted->directory));
    if (found && !left_behind_.empty())
      notes_.push_back(
          fmt::format("goes back to {}: the {} after it are not sound, and are now called NAME.set-aside (remove them "
                      "when you like)",
                      found->path(), left_behind_.size()));
    return found;
  }

  // With random weights, or with those of another run.
  void begin() {
    position_ = {};
    position_.data_hash = data_.hash();
    if (config_.train.micro_batch_size == kAutoMicroBatch)
      config_.train.micro_batch_size = fitting_micro_batch(config_, device_.type, memory_for_training(device_));
    if (config_.train.init_from.empty()) {
      allocate();
      space_.initialize(static_cast<uint64_t>(config_.seed));
      return;
    }
    require(exists(config_.train.init_from), "train.init_from", "{} does not exist", config_.train.init_from);
    CheckpointUse use;
    std::vector<std::string> notes;
    use.consider = [&](const Checkpoint& checkpoint) {
      notes = check_init_from(checkpoint, config_, tokenizer_);
      if (!optimizer_) allocate();
      checkpoint.check_fits(weight_ranges(space_, RangesOf::Updater));
      return true;
    };
    use.load = [&](const Checkpoint& checkpoint) { load_weights(checkpoint, space_); };
    const Checkpoint start = use_checkpoint(config_.train.init_from, use);
    notes_.push_back("weights from " + start.path());
    notes_.insert(notes_.end(), notes.begin(), notes.end());
  }

  // What the configuration asks for and will not get, or hardly means.
  void note_what_has_no_effect() {
    const TrainConfig& train = config_.train;
    const auto [every, keep] = std::pair(train.checkpoint.every_steps, train.checkpoint.keep_every_steps);
    if (keep > 0 && train.steps % keep != 0) {
      int64_t first = 0;  // step that is saved and a multiple of keep
      if (every == 0 || __builtin_mul_overflow(keep / std::gcd(keep, every), every, &first) || first > train.steps)
        notes_.push_back(
            fmt::format("train.checkpoint.keep_every_steps {} keeps nothing: checkpoints are saved {}, and none falls "
                        "on a multiple of it",
                        keep, every == 0 ? "at the end only" : fmt::format("every {} steps", every)));
    }
    if (train.evaluate_every_steps > 0 && !validation_)
      notes_.push_back("train.evaluate_every_steps has no effect: data.validation is empty");
    if (train.sample_every_steps > 0 && train.sample_prompts.empty())
      notes_.push_back("train.sample_every_steps has no effect: train.sample_prompts is empty");
    const ScheduleConfig& schedule = config_.optimizer.schedule;
    if (schedule.decay_steps > 0 && schedule.type != ScheduleType::Wsd)
      notes_.push_back(
          fmt::format("optimizer.schedule.decay_steps has no effect: the schedule is {}", name_of(schedule.type)));

    std::map<uint64_t, std::string> trained;  // by content
    for (const TokenShard& shard : data_.shards)
      if (const auto [found, is_new] = trained.emplace(shard.content_hash(), shard.summary().path); !is_new)
        notes_.push_back(fmt::format("data.train has the same shard twice, and trains on it twice as often: {} and {}",
                                     found->second, shard.summary().path));
    for (const std::string& path : config_.data.validation)
      if (const auto found = trained.find(TokenShard(path).content_hash()); found != trained.end())
        notes_.push_back(
            fmt::format("data.validation has what the run is trained on: {} is {}; its loss says nothing about text "
                        "that the model has not seen",
                        path, found->second));
  }

  void allocate() {
    space_.allocate(config_.train.dtype, device_, SpaceUse::Training);
    optimizer_.emplace(space_, config_.optimizer);
  }

  void announce(const std::optional<Checkpoint>& resumed) {
    plan_ = plan_model(config_.model, config_.data.sequence_length);
    const MemoryPlan memory = plan_memory(config_.model, training_shape(config_, device_.type));
    peak_ = measure_peak_flops(config_.train.dtype, device_);
    constexpr double mib = 1 << 20;
    log::info(
        "model    {}: {} parameters, {} layers of {}, {} tokens in the vocabulary, cache {} numbers per token and "
        "layer",
        name_of(config_.model.attention.type), count_text(static_cast<double>(plan_.parameters)), config_.model.layers,
        config_.model.hidden_size, config_.model.vocab_size, plan_.cache_numbers_per_token_and_layer);
    log::info("device   {}: products reach {:.0f} GFLOP/s in {}; training costs {} FLOP per token", describe(device_),
              peak_ / 1e9, name_of(config_.train.dtype), count_text(plan_.flops_per_token_training));
    const std::string saving = fmt::format("saving {:.0f}", memory.checkpoint_staging / mib);
    const bool gpu = device_.type == DeviceType::Cuda;
    log::info(
        "memory   parameters {:.0f}, gradients {:.0f}, optimizer {:.0f}, activations {:.0f}, workspace {:.0f}{}: "
        "{:.0f} MiB{}",
        memory.parameters / mib, memory.gradients / mib, memory.optimizer / mib, memory.activations / mib,
        memory.workspace / mib, gpu ? "" : ", " + saving, memory.total / mib,
        gpu ? " of the device's; " + saving + " MiB of the CPU's" : "");
    announce_data();
    if (resumed)
      log::info("resumes  {} (step {} of {})", resumed->path(), position_.step, config_.train.steps);
    else
      log::info("begins   {} steps of {} sequences in {}", config_.train.steps, config_.train.global_batch_size,
                run_dir_);
    for (const std::string& note : notes_) log::info("note     {}", note);
  }

  void announce_data() {
    const Mixture& sampler = data_.sampler;
    const double samples =
        static_cast<double>(config_.train.steps) * static_cast<double>(config_.train.global_batch_size);
    for (int64_t i = 0; i < sampler.sources(); ++i) {
      const double share = static_cast<double>(sampler.parts(i)) / static_cast<double>(sampler.period());
      log::info("data     {}{} samples of {} tokens an epoch, {:.2f} epochs in all",
                sampler.sources() > 1 ? fmt::format("source {}, {:.2f}% of the samples: ", i, 100 * share) : "",
                sampler.samples_per_epoch(i), config_.data.sequence_length,
                samples * share / static_cast<double>(sampler.samples_per_epoch(i)));
    }
    if (const double share = data_.unsampled().share(); share > 0.01)
      log::warning("{}", describe_unsampled(data_));
    else if (share > 0)
      log::info("data     {}", describe_unsampled(data_));
    log::info("data     {} validation tokens; tokens see {}", validation_ ? validation_->scored_tokens() : 0,
              data_.document_mask == DocumentMask::On ? "their own document only"
                                                      : "the documents before theirs in the sample");
  }

  // What only looks at the weights is never worth the run: what goes wrong there is said, and training goes on.
  template <class F>
  void look(const char* what, F&& f) {
    try {
      f();
    } catch (const std::exception& error) {
      log::warning("no {} after step {}: {}; training goes on", what, position_.step, error.what());
    }
  }

  // What a step is to be followed by.
  struct Looks {
    bool validation = false, sample = false;
  };
  Looks looks_due() const {
    const bool last = position_.step == config_.train.steps;
    return {validation_ && position_.step > 0 && (last || due(config_.train.evaluate_every_steps)),
            !config_.train.sample_prompts.empty() &&
                (last || position_.step == 0 || due(config_.train.sample_every_steps))};
  }
  // Of those, what a run that ended at the checkpoint's step did not come to.
  Looks looks_owed() const {
    const Looks looks = looks_due();
    return {looks.validation && !has_validation(folder_->metrics_file(), position_.step),
            looks.sample && !exists(folder_->sample_file(position_.step))};
  }

  void take(const Looks& looks) {
    if (looks.validation) look("validation", [&] { validate(); });
    if (looks.sample) look("sample", [&] { sample(); });
  }

  TrainResult loop() {
    const TrainConfig& train = config_.train;
    Loader loader(data_, train.micro_batch_size, position_.next_sample);
    saver_.emplace(folder_->checkpoints(), train.checkpoint.keep, train.checkpoint.keep_every_steps,
                   train.checkpoint.asynchronous);
    Progress progress;
    Profiler profiler;
    const int64_t first_step = position_.step;
    take(position_.step == 0 ? looks_due() : owed_);
    start_ = concluded_ = Clock::now();
    if (options_.profile_steps > 0) profiler.start(device_);
    std::optional<QueuedStep> before;  // the step that the device may still be working on
    while (position_.step < train.steps) {
      if (before && due(train.diagnose_every_steps, position_.step + 1))
        progress.show(conclude(*std::exchange(before, {})), train.log_every_steps, false);
      std::optional<StepLosses> losses;
      std::optional<QueuedStep> queued;
      {
        ProfilerRange range("step");
        try {
          losses = add_gradients(loader);
        } catch (...) {
          rescue(std::exchange(before, {}));
          throw;
        }
        if (losses) queued = update(*losses);
      }
      if (before) progress.show(conclude(*before), train.log_every_steps, false);
      before = std::exchange(queued, {});
      if (!before) {
        stop(progress);
        break;
      }

      const bool last = position_.step == train.steps;
      const bool profiled = options_.profile_steps > 0 &&
                            position_.step - first_step == std::min(options_.profile_steps, train.steps - first_step);
      const bool stopping = stop_requested() != 0;
      const bool saves = last || stopping || due(train.checkpoint.every_steps);
      // A run that is to stop does not look any more; whoever goes on from its checkpoint does.
      owed_ = stopping && !last ? Looks{} : looks_due();
      // Nothing is gained by running ahead of a CPU.
      if (device_.type == DeviceType::Cuda && !(profiled || owed_.validation || owed_.sample || saves)) continue;
      StepReport report = conclude(*std::exchange(before, {}));
      if (saves) save();  // before anyone looks
      if (profiled)
        look("profile", [&] {
          profiler.stop();
          report_profile(profiler, folder_->path() + "/profile.json");
          log::info("memory   {}", describe(memory_report(device_)));
        });
      if (owed_.validation) {
        progress.interrupt();
        take({.validation = true});
        if (result_.validation_loss > 0) report.validation_loss = result_.validation_loss;
      }
      progress.show(report, train.log_every_steps, last);
      if (last) progress.interrupt();
      take({.sample = owed_.sample});
      concluded_ = Clock::now();
      if (stop_requested() && (!last || stopped_)) {
        stop(progress);
        break;
      }
    }
    if (!saver_->finish())
      fail("checkpoint", "the last one could not be saved: see the warning above; earlier ones are kept");
    note_saved();
    if (!folder_->flush_metrics()) {
      const std::string lost =
          "rows of metrics.jsonl or of tensorboard/ could not be written, and are lost: see the "
          "warning above";
      if (!stopped_) fail(folder_->path(), "the training is whole and saved, but {}", lost);
      log::warning("{}: {}", folder_->path(), lost);  // the exit code says that there is more to do
    }
    result_.outcome = stopped_ ? TrainOutcome::Interrupted : TrainOutcome::Finished;
    result_.run_dir = folder_->path();
    result_.step = position_.step;
    return result_;
  }

  // A step that the device has been given.
  struct QueuedStep {
    int64_t step;          // from 1
    int64_t tokens;        // seen with it
    int64_t first_sample;  // of its batch
    double learning_rate, data_wait_seconds;
    HostCopy outcome;
  };

  // At a signal: the state is saved, and the program ends.
  void stop(Progress& progress) {
    const int signal = stop_requested();
    progress.interrupt();
    if (!is_saved()) save();
    if (!saver_->finish()) fail("checkpoint", "could not be saved after signal {}: see the warning above", signal);
    log::info("stopped by signal {} after step {}; run the same command again to go on", signal, position_.step);
    stopped_ = true;
  }

  // A step's gradients could not be computed (a shard that cannot be read any more, no memory): the weights are those
  // of the step before, and worth keeping. What went wrong is thrown on by whoever calls.
  void rescue(const std::optional<QueuedStep>& before) {
    try {
      if (before) conclude(*before);
      if (!is_saved()) save();
      if (saver_->finish()) log::info("the state after step {} is saved", position_.step);
    } catch (const std::exception& error) {
      log::warning("the state after step {} is not saved: {}", position_.step, error.what());
    }
  }

  // Whether the newest checkpoint is of this step.
  bool is_saved() { return saved_step_ == position_.step && saver_->finish(); }

  // Says in the run's folder which checkpoint was the last to be whole on disk.
  void note_saved() {
    const int64_t step = saver_->last_saved_step();
    if (step < 0 || step == std::exchange(noted_step_, step)) return;
    folder_->note_checkpoint(step);
  }

  // What a step's update needs beside the gradients.
  struct StepLosses {
    Tensor cross_entropies;  // of the micro-batches, float64 on the device
    double data_wait_seconds = 0;
  };

  // Adds up the gradients of the step's micro-batches. Nothing where a stop is asked for between two of them: a step of
  // many may take longer than a batch system waits. Changes nothing that a checkpoint holds.
  std::optional<StepLosses> add_gradients(Loader& loader) {
    const TrainConfig& train = config_.train;
    const int64_t sequence = config_.data.sequence_length, parts = train.global_batch_size / train.micro_batch_size;
    // A batch of nothing but first tokens has no loss, and no gradient.
    const int64_t labels = std::max<int64_t>(1, data_.count_labels(position_.next_sample, train.global_batch_size));
    StepLosses losses{Tensor::empty({parts}, DType::F64, device_, Purpose::Workspace)};
    space_.zero_gradients();
    for (int64_t part = 0; part < parts; ++part) {
      if (hooks_.before_micro_batch) hooks_.before_micro_batch(position_.step, part);
      if (part > 0 && stop_requested()) return std::nullopt;
      const Batch batch = [&] {
        ProfilerRange waiting("data");
        return loader.next();
      }();
      losses.data_wait_seconds += loader.seconds_waited();
      const Shape shape{train.micro_batch_size, sequence};
      const Tensor document_starts =
          batch.document_starts.empty() ? Tensor{} : Tensor::from<int32_t>({shape.elements()}, batch.document_starts);
      Tape tape(TapeMode::Recording, train.recompute);
      const Tensor ids = Tensor::from<int32_t>(shape, batch.tokens);
      const CausalLm::Losses part_losses = model_->losses(tape, ids, Tensor::from<int32_t>(shape, batch.labels),
                                                          {.label_weight = 1.0 / static_cast<double>(labels),
                                                           .z_loss = train.z_loss,
                                                           .document_starts = document_starts});
      losses.cross_entropies.column_slice(part, 1).copy_from(part_losses.cross_entropy);
      tape.backward(part_losses.total);
      // The last micro-batch stands for the step.
      if (part == parts - 1 && due(train.diagnose_every_steps, position_.step + 1))
        look("diagnosis",
             [&] { folder_->add_metrics(diagnose(*model_, space_, position_.step + 1, ids, document_starts)); });
    }
    return losses;
  }

  QueuedStep update(const StepLosses& losses) {
    const TrainConfig& train = config_.train;
    if (hooks_.with_loss) hooks_.with_loss(position_.step, losses.cross_entropies);
    if (hooks_.before_update) hooks_.before_update(position_.step, space_);
    const Tensor squares = optimizer_->sum_of_squares();
    const double rate = learning_rate(config_.optimizer, position_.step, train.steps);
    saver_->before_update();
    optimizer_->step(rate, squares, losses.cross_entropies);
    ++position_.step;
    position_.tokens += train.global_batch_size * config_.data.sequence_length;
    const int64_t first_sample = std::exchange(position_.next_sample, position_.next_sample + train.global_batch_size);
    return {position_.step, position_.tokens, first_sample, rate, losses.data_wait_seconds, optimizer_->outcome()};
  }

  // Waits for the step, and says what became of it.
  StepReport conclude(const QueuedStep& step) {
    const UpdateOutcome outcome(step.outcome);
    position_.updates = outcome.updates;
    if (outcome.applied)
      position_.consecutive_skipped = 0;
    else
      skip(step, outcome);
    result_.loss = outcome.loss;
    note_saved();

    const int64_t tokens = config_.train.global_batch_size * config_.data.sequence_length;
    const Clock::time_point now = Clock::now();
    StepReport report;
    report.step = step.step;
    report.steps = config_.train.steps;
    report.tokens = step.tokens;
    report.loss = outcome.loss;
    report.learning_rate = step.learning_rate;
    report.gradient_norm = outcome.gradient_norm;
    report.step_seconds = std::chrono::duration<double>(now - std::exchange(concluded_, now)).count();
    report.tokens_per_second = static_cast<double>(tokens) / report.step_seconds;
    report.flops_per_second = report.tokens_per_second * plan_.flops_per_token_training;
    report.sol = report.flops_per_second / peak_;
    report.data_wait_seconds = step.data_wait_seconds;
    report.memory_bytes = memory_report(device_).reserved_peak;
    if (result_.validation_loss > 0) report.validation_loss = result_.validation_loss;
    steps_concluded_ += 1;
    report.seconds_left =
        seconds_since(start_) / static_cast<double>(steps_concluded_) * static_cast<double>(report.steps - report.step);
    folder_->add_metrics(metrics_row(report));
    return report;
  }

  static bool due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }
  bool due(int64_t every) const { return due(every, position_.step); }

  void skip(const QueuedStep& step, const UpdateOutcome& outcome) {
    ++position_.skipped_steps;
    ++position_.consecutive_skipped;
    log::warning("step {} skipped: loss {}, gradient norm {} ({} in a row, {} in all); the weights are unchanged",
                 step.step, outcome.loss, outcome.gradient_norm, position_.consecutive_skipped,
                 position_.skipped_steps);
    if (position_.consecutive_skipped < config_.train.max_skipped_steps) return;
    saver_->finish();
    const std::optional<std::string> sound = find_newest_sound(folder_->checkpoints());
    fail("train",
         "{} steps in a row were not finite (train.max_skipped_steps): look at the data before sample {}, or {}",
         position_.consecutive_skipped, step.first_sample + config_.train.global_batch_size,
         sound ? fmt::format("run the same command with a lower optimizer.learning_rate: it then goes on from {}, the "
                             "last checkpoint before them",
                             *sound)
               : "begin anew with --fresh and a lower optimizer.learning_rate: there is no checkpoint from before the "
                 "weights diverged");
  }

  void validate() {
    ProfilerRange range("evaluate");
    const EvaluationResult e =
        evaluate(*model_, *validation_, config_.data.sequence_length, config_.train.micro_batch_size,
                 data_.document_mask, [] { return stop_requested() != 0; });
    if (!e.complete) {
      stopped_ = true;
      return;
    }
    result_.validation_loss = e.loss;
    result_.validation_bits_per_byte = e.bits_per_byte();
    folder_->add_metrics(nlohmann::json{{"step", position_.step},
                                        {"tokens", position_.tokens},
                                        {"validation_loss", e.loss},
                                        {"validation_perplexity", e.perplexity()},
                                        {"validation_bits_per_byte", e.bits_per_byte()}});
    log::info("validation after step {}: loss {:.4f}, perplexity {:.2f}, {:.4f} bits per byte", position_.step, e.loss,
              e.perplexity(), e.bits_per_byte());
  }

  void sample() {
    struct Stopped {};
    std::string text;
    for (const std::string& prompt : config_.train.sample_prompts) {
      SamplingOptions sampling;
      sampling.max_tokens = config_.train.sample_tokens;
      sampling.seed = static_cast<uint64_t>(config_.seed);
      text += prompt;
      try {
        generate(*model_, space_, tokenizer_, prompt, sampling, [&](const std::string& piece) {
          if (stop_requested()) throw Stopped{};
          text += piece;
        });
      } catch (const Stopped&) {
        stopped_ = true;
        return;
      }
      text += "\n---\n";
    }
    publish_text(folder_->sample_file(position_.step), text);
    log::info("sample after step {}: {}", position_.step, text.substr(0, text.find("\n---\n")));
  }

  void save() {
    ProfilerRange range("save");
    if (folder_->follow()) {
      log::warning("the run's folder was renamed: it is now {}, and what is saved goes there", folder_->path());
      saver_->save_to(folder_->checkpoints());
    }
    folder_->flush_metrics();
    const double size = root_mean_square(space_),
                 largest = kLargestWeights * std::max(1.0, config_.model.initializer_range);
    position_.sound = position_.consecutive_skipped == 0 && size <= largest;
    if (!(size <= largest))
      log::warning(
          "the weights have diverged: their root mean square is {:.3g} after step {}, beyond {:g}; lower "
          "optimizer.learning_rate",
          size, position_.step, largest);
    saved_step_ = position_.step;
    saver_->save(
        {position_, to_yaml(config_), tokenizer_.bytes(), training_ranges(space_, *optimizer_, RangesOf::Owner)});
  }

  RunConfig config_;
  TrainOptions options_;
  TrainHooks hooks_;
  Device device_;
  Tokenizer tokenizer_;
  TrainingData data_;
  std::optional<EvaluationSet> validation_;
  std::string run_dir_;
  std::vector<std::string> notes_;
  ParameterSpace space_;
  std::optional<CausalLm> model_;
  std::optional<AdamW> optimizer_;
  std::optional<RunFolder> folder_;
  TrainingPosition position_;
  std::optional<CheckpointSaver> saver_;  // after what it reads
  std::vector<std::string> left_behind_;  // checkpoints that the run goes back behind
  Looks owed_;                            // at this step, and not taken yet
  bool stopped_ = false;                  // by a signal, and something is left for whoever goes on
  int64_t saved_step_ = -1;               // of the newest checkpoint, unless the saver says that it failed
  int64_t noted_step_ = -1;               // the last that note_saved() wrote
  Plan plan_;
  double peak_ = 1;
  Clock::time_point start_, concluded_;  // of the loop; when the last step was read
  int64_t steps_concluded_ = 0;
  TrainResult result_;
};

}  // namespace

TrainResult train(const LoadedRun& run, const TrainOptions& options) { return train(run, options, {}); }

TrainResult train(const LoadedRun& run, const TrainOptions& options, const TrainHooks& hooks) {
  Trainer trainer(run, options, hooks);
  struct Forget {
    ~Forget() { forget_stop_request(); }  // it was this training's
  } forget;
  try {
    return trainer.run();
  } catch (const Error& error) {
    throw trainer.has_begun() ? error.underway() : error;
  }
}

}  // namespace gta
