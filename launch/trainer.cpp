#include "launch/trainer.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "bench/peak.h"
#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"
#include "checkpoints/saver.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/profiler.h"
#include "data/loader.h"
#include "launch/diagnose.h"
#include "launch/environment.h"
#include "launch/evaluate.h"
#include "launch/plan.h"
#include "launch/profile_report.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/sampling.h"
#include "launch/signals.h"
#include "optim/schedule.h"

namespace gta {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Trainer {
 public:
  Trainer(const LoadedRun& run, const TrainOptions& options)
      : config_(run.config),
        options_(options),
        device_(device_from_name(options.device)),
        tokenizer_(Tokenizer::load(run.config.data.tokenizer)),
        data_(open_training_data(run.config.data, tokenizer_, static_cast<uint64_t>(run.config.seed))) {
    resolve_vocabulary();
    if (!config_.data.validation.empty())
      validation_ = EvaluationSet::from_shards(config_.data.validation, tokenizer_, config_.data.sequence_length, config_.train.validation_tokens);
    run_dir_ = options.run_dir.empty() ? "runs/" + config_.name : options.run_dir;
    model_.emplace(space_, config_.model);
    for (const std::string& key : run.unused_attention_keys)
      notes_.push_back(fmt::format("model.{} is not used by attention.type {}", key, name_of(config_.model.attention.type)));
  }

  TrainResult run() {
    if (options_.use == FolderUse::Fresh) {
      // Holding the lock of the old folder first: a run that is still writing there is not to be moved away under it.
      if (exists(run_dir_)) { RunFolder held(run_dir_); }
      if (const std::string aside = move_aside(run_dir_); !aside.empty()) notes_.push_back("the earlier run is now " + aside);
    }
    std::optional<Checkpoint> resumed = find_resume_point();
    if (config_.train.micro_batch_size == kAutoMicroBatch) config_.train.micro_batch_size = fitting_micro_batch(config_, device_.type, memory_for_training(device_));
    if (resumed && resumed->position().step >= config_.train.steps) {
      log::info("nothing to do: {} has all {} steps", resumed->path(), config_.train.steps);
      return {TrainOutcome::NothingToDo, run_dir_, resumed->position().step};
    }
    folder_.emplace(run_dir_);
    log::attach_file(run_dir_ + "/log.txt");
    struct Detach {
      ~Detach() { log::detach_file(); }
    } detach;
    prepare_state(resumed);
    publish_text(folder_->config_file(), to_yaml(config_));
    const std::string environment = run_dir_ + "/environment.json";
    if (resumed)
      for (const std::string& difference : environment_differences(environment, device_))
        notes_.push_back("since the last start, sums may round otherwise: " + difference);
    publish_text(environment, environment_json(device_));
    folder_->open_metrics(position_.metrics_bytes, position_.step);
    announce(resumed);
    return loop();
  }

  bool has_begun() const { return steps_concluded_ > 0; }

 private:
  void resolve_vocabulary() {
    ModelConfig& model = config_.model;
    const int64_t pieces = tokenizer_.vocab_size();
    if (model.vocab_size == 0) model.vocab_size = (pieces + model.vocab_multiple - 1) / model.vocab_multiple * model.vocab_multiple;
    require(model.vocab_size >= pieces, "model.vocab_size", "{} is smaller than the tokenizer's {} pieces: leave it out or raise it",
            model.vocab_size, pieces);
  }

  // The newest good checkpoint of the run's folder, if this configuration may go on from it.
  std::optional<Checkpoint> find_resume_point() {
    const std::string directory = run_dir_ + "/checkpoints";
    if (!is_directory(directory)) return std::nullopt;
    const std::optional<std::string> newest = find_newest_good(directory);
    if (!newest) return std::nullopt;
    Checkpoint checkpoint = Checkpoint::open(*newest);
    const RunConfig before = load_saved_config(checkpoint);
    // What was chosen stays chosen: another micro-batch would round sums in another order.
    if (config_.train.micro_batch_size == kAutoMicroBatch) config_.train.micro_batch_size = before.train.micro_batch_size;
    std::string refused;
    for (const ConfigDifference& difference : differences(before, config_)) {
      if (difference.key == "train.init_from") continue;
      std::string line = fmt::format("{}: {} -> {}", difference.key, difference.before, difference.after);
      if (difference.allowed_on_resume)
        notes_.push_back("changed since the checkpoint: " + line);
      else
        refused += "\n  " + line;
    }
    if (!refused.empty())
      bad_input(run_dir_, "holds a run with another configuration; these keys may not change on resume (use --fresh, or another name):{}", refused);
    require(checkpoint.position().data_hash == data_.hash(), "data",
            "the token shards are not those that {} was trained on: restore them, or use --fresh", checkpoint.path());
    return checkpoint;
  }

  RunConfig load_saved_config(const Checkpoint& checkpoint) {
    return parse_run_config(checkpoint.config_yaml(), checkpoint.path() + "/config");
  }

  void prepare_state(const std::optional<Checkpoint>& resumed) {
    space_.allocate(config_.train.dtype, device_, SpaceUse::Training);
    optimizer_.emplace(space_, config_.optimizer);
    position_.data_hash = data_.hash();
    if (resumed) {
      load_training(*resumed, space_, *optimizer_);
      position_ = resumed->position();
    } else if (!config_.train.init_from.empty()) {
      const Checkpoint start = Checkpoint::open(resolve_checkpoint(config_.train.init_from));
      load_weights(start, space_);
      notes_.push_back("weights from " + start.path());
    } else {
      space_.initialize(static_cast<uint64_t>(config_.seed));
    }
    release_pooled_memory(device_);  // what initialising or loading took in passing
  }

  void announce(const std::optional<Checkpoint>& resumed) {
    plan_ = plan_model(config_.model, config_.data.sequence_length);
    const MemoryPlan memory = plan_memory(config_.model, training_shape(config_, device_.type));
    peak_ = measure_peak_flops(config_.train.dtype, device_);
    constexpr double mib = 1 << 20;
    log::info("model    {}: {} parameters, {} layers of {}, {} tokens in the vocabulary, cache {} numbers per token and layer",
              name_of(config_.model.attention.type), count_text(static_cast<double>(plan_.parameters)), config_.model.layers,
              config_.model.hidden_size, config_.model.vocab_size, plan_.cache_numbers_per_token_and_layer);
    log::info("device   {}: products reach {:.0f} GFLOP/s in {}; training costs {} FLOP per token", describe(device_), peak_ / 1e9,
              name_of(config_.train.dtype), count_text(plan_.flops_per_token_training));
    const std::string saving = fmt::format("saving {:.0f}", memory.checkpoint_staging / mib);
    const bool gpu = device_.type == DeviceType::Cuda;
    log::info("memory   parameters {:.0f}, gradients {:.0f}, optimizer {:.0f}, activations {:.0f}, workspace {:.0f}{}: {:.0f} MiB{}",
              memory.parameters / mib, memory.gradients / mib, memory.optimizer / mib, memory.activations / mib, memory.workspace / mib,
              gpu ? "" : ", " + saving, memory.total / mib, gpu ? " of the device's; " + saving + " MiB of the CPU's" : "");
    announce_data();
    if (resumed)
      log::info("resumes  {} (step {} of {})", resumed->path(), position_.step, config_.train.steps);
    else
      log::info("begins   {} steps of {} sequences in {}", config_.train.steps, config_.train.global_batch_size, run_dir_);
    for (const std::string& note : notes_) log::info("note     {}", note);
  }

  void announce_data() {
    const Mixture& sampler = data_.sampler;
    const double samples = static_cast<double>(config_.train.steps) * static_cast<double>(config_.train.global_batch_size);
    for (int64_t i = 0; i < sampler.sources(); ++i) {
      const double share = static_cast<double>(sampler.parts(i)) / static_cast<double>(sampler.period());
      log::info("data     {}{} samples of {} tokens an epoch, {:.2f} epochs in all",
                sampler.sources() > 1 ? fmt::format("source {}, {:.2f}% of the samples: ", i, 100 * share) : "", sampler.samples_per_epoch(i),
                config_.data.sequence_length, samples * share / static_cast<double>(sampler.samples_per_epoch(i)));
    }
    log::info("data     {} validation tokens; tokens see {}", validation_ ? validation_->scored_tokens() : 0,
              data_.document_mask == DocumentMask::On ? "their own document only" : "the documents before theirs in the sample");
  }

  TrainResult loop() {
    const TrainConfig& train = config_.train;
    Loader loader(data_, train.micro_batch_size, position_.next_sample);
    CheckpointSaver saver(folder_->checkpoints(), train.checkpoint.keep, train.checkpoint.keep_every_steps, train.checkpoint.asynchronous);
    Progress progress;
    Profiler profiler;
    const int64_t first_step = position_.step;
    if (position_.step == 0) sample();
    start_ = concluded_ = Clock::now();
    if (options_.profile_steps > 0) profiler.start(device_);
    std::optional<QueuedStep> before;  // the step that the device may still be working on
    while (position_.step < train.steps) {
      if (before && due(train.diagnose_every_steps, position_.step + 1)) progress.show(conclude(*std::exchange(before, {})), train.log_every_steps, false);
      QueuedStep queued = queue_step(loader, saver);
      if (before) progress.show(conclude(*before), train.log_every_steps, false);
      before = std::move(queued);

      const bool last = position_.step == train.steps;
      const int signal = stop_requested();
      const bool profiled = options_.profile_steps > 0 && position_.step - first_step == std::min(options_.profile_steps, train.steps - first_step);
      const bool evaluates = validation_ && (last || (due(train.evaluate_every_steps) && !signal));
      const bool samples = last || (due(train.sample_every_steps) && !signal);
      const bool saves = last || signal || due(train.checkpoint.every_steps);
      // Nothing is gained by running ahead of a CPU.
      if (device_.type == DeviceType::Cuda && !(profiled || evaluates || samples || saves)) continue;
      StepReport report = conclude(*std::exchange(before, {}));
      if (profiled) {
        profiler.stop();
        report_profile(profiler, run_dir_ + "/profile.json");
        log::info("memory   {}", describe(memory_report(device_)));
      }
      if (evaluates) {
        progress.interrupt();
        validate();
        report.validation_loss = result_.validation_loss;
      }
      progress.show(report, train.log_every_steps, last);
      if (last) progress.interrupt();
      if (samples) sample();
      if (saves) save(saver);
      concluded_ = Clock::now();
      if (signal && !last) {
        progress.interrupt();
        if (!saver.finish()) fail("checkpoint", "could not be saved after signal {}: see the warning above", signal);
        log::info("stopped by signal {} after step {}; run the same command again to go on", signal, position_.step);
        result_.outcome = TrainOutcome::Interrupted;
        break;
      }
    }
    if (!saver.finish()) fail("checkpoint", "the last one could not be saved: see the warning above; earlier ones are kept");
    folder_->metrics_bytes();
    result_.run_dir = run_dir_;
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

  QueuedStep queue_step(Loader& loader, CheckpointSaver& saver) {
    const TrainConfig& train = config_.train;
    ProfilerRange range("step");
    const int64_t sequence = config_.data.sequence_length, parts = train.global_batch_size / train.micro_batch_size;
    // A batch of nothing but first tokens has no loss, and no gradient.
    const int64_t labels = std::max<int64_t>(1, data_.count_labels(position_.next_sample, train.global_batch_size));
    double data_wait_seconds = 0;
    space_.zero_gradients();
    const Tensor cross_entropies = Tensor::empty({parts}, DType::F64, device_, Purpose::Workspace);  // of the micro-batches
    for (int64_t part = 0; part < parts; ++part) {
      const Batch batch = [&] {
        ProfilerRange waiting("data");
        return loader.next();
      }();
      data_wait_seconds += loader.seconds_waited();
      const Shape shape{train.micro_batch_size, sequence};
      const Tensor document_starts = batch.document_starts.empty() ? Tensor{} : Tensor::from<int32_t>({shape.elements()}, batch.document_starts);
      Tape tape(TapeMode::Recording, train.recompute);
      const Tensor ids = Tensor::from<int32_t>(shape, batch.tokens);
      const CausalLm::Losses losses =
          model_->losses(tape, ids, Tensor::from<int32_t>(shape, batch.labels),
                         {.label_weight = 1.0 / static_cast<double>(labels), .z_loss = train.z_loss, .document_starts = document_starts});
      cross_entropies.column_slice(part, 1).copy_from(losses.cross_entropy);
      tape.backward(losses.total);
      // The last micro-batch stands for the step.
      if (part == parts - 1 && due(train.diagnose_every_steps, position_.step + 1))
        folder_->add_metrics(diagnose(*model_, space_, position_.step + 1, ids, document_starts));
    }
    if (options_.with_loss) options_.with_loss(position_.step, cross_entropies);
    if (options_.before_update) options_.before_update(position_.step, space_);
    const Tensor squares = optimizer_->sum_of_squares();
    const double rate = learning_rate(config_.optimizer, position_.step, train.steps);
    saver.before_update();
    optimizer_->step(rate, squares, cross_entropies);
    ++position_.step;
    position_.tokens += train.global_batch_size * sequence;
    const int64_t first_sample = std::exchange(position_.next_sample, position_.next_sample + train.global_batch_size);
    return {position_.step, position_.tokens, first_sample, rate, data_wait_seconds, optimizer_->outcome()};
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
    report.seconds_left = seconds_since(start_) / static_cast<double>(steps_concluded_) * static_cast<double>(report.steps - report.step);
    folder_->add_metrics(metrics_row(report));
    return report;
  }

  static bool due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }
  bool due(int64_t every) const { return due(every, position_.step); }

  void skip(const QueuedStep& step, const UpdateOutcome& outcome) {
    ++position_.skipped_steps;
    ++position_.consecutive_skipped;
    log::warning("step {} skipped: loss {}, gradient norm {} ({} in a row, {} in all); the weights are unchanged", step.step, outcome.loss,
                 outcome.gradient_norm, position_.consecutive_skipped, position_.skipped_steps);
    if (position_.consecutive_skipped >= config_.train.max_skipped_steps)
      fail("train", "{} steps in a row were not finite (train.max_skipped_steps): lower optimizer.learning_rate, or look at the data after sample {}; "
           "the last checkpoint is good", position_.consecutive_skipped, step.first_sample);
  }

  void validate() {
    ProfilerRange range("evaluate");
    const EvaluationResult e = evaluate(*model_, *validation_, config_.data.sequence_length, config_.train.micro_batch_size, data_.document_mask);
    result_.validation_loss = e.loss;
    result_.validation_bits_per_byte = e.bits_per_byte();
    folder_->add_metrics(nlohmann::json{{"step", position_.step},
                                        {"tokens", position_.tokens},
                                        {"validation_loss", e.loss},
                                        {"validation_perplexity", e.perplexity()},
                                        {"validation_bits_per_byte", e.bits_per_byte()}});
    log::info("validation after step {}: loss {:.4f}, perplexity {:.2f}, {:.4f} bits per byte", position_.step, e.loss, e.perplexity(), e.bits_per_byte());
  }

  void sample() {
    if (config_.train.sample_prompts.empty()) return;
    std::string text;
    for (const std::string& prompt : config_.train.sample_prompts) {
      SamplingOptions sampling;
      sampling.max_tokens = config_.train.sample_tokens;
      sampling.seed = static_cast<uint64_t>(config_.seed);
      text += prompt;
      generate(*model_, space_, tokenizer_, prompt, sampling, [&](const std::string& piece) { text += piece; });
      text += "\n---\n";
    }
    try {
      publish_text(fmt::format("{}/samples/step-{}.txt", run_dir_, position_.step), text);
    } catch (const Error& error) {
      log::warning("the sample is not kept: {}; training goes on", error.what());
    }
    log::info("sample after step {}: {}", position_.step, text.substr(0, text.find("\n---\n")));
  }

  void save(CheckpointSaver& saver) {
    ProfilerRange range("save");
    position_.metrics_bytes = folder_->metrics_bytes();
    saver.save({position_, to_yaml(config_), tokenizer_.bytes(), training_ranges(space_, *optimizer_)});
  }

  RunConfig config_;
  TrainOptions options_;
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
  Plan plan_;
  double peak_ = 1;
  Clock::time_point start_, concluded_;  // of the loop; when the last step was read
  int64_t steps_concluded_ = 0;
  TrainResult result_;
};

}  // namespace

TrainResult train(const LoadedRun& run, const TrainOptions& options) {
  Trainer trainer(run, options);
  try {
    return trainer.run();
  } catch (const Error& error) {
    throw trainer.has_begun() ? error.underway() : error;
  }
}

}  // namespace gta
