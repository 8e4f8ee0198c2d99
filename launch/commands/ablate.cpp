// gta ablate: plans the cells of an ablation's file, runs them, and writes their report.
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "bench/decode.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/measure/peak.h"
#include "launch/ablate/ablation_folder.h"
#include "launch/ablate/cells.h"
#include "launch/ablate/runner.h"
#include "launch/ablate/search.h"
#include "launch/ablate/slurm.h"
#include "launch/budget.h"
#include "launch/commands/commands.h"
#include "launch/commands/comparison_text.h"
#include "launch/compare/report.h"
#include "launch/compare/text.h"
#include "launch/config/config.h"
#include "launch/plan.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

// What one cell of an arm takes.
struct CellCost {
  int64_t memory = 0;
  std::optional<double> seconds;  // nothing where no device is here to ask
};

CellCost cost_of_cell(const RunConfig& counted, DeviceType device, std::optional<double> flops_per_second) {
  RunConfig run = counted;
  if (run.train.micro_batch_size == kAutoMicroBatch)
    run.train.micro_batch_size =
        fitting_micro_batch(run, device, memory_for_training(memory_report(Device{device}).limit));
  CellCost cost;
  cost.memory = plan_memory(run.model, training_shape(run, device)).total;
  if (flops_per_second) cost.seconds = seconds_of(budget_of(run), {SpeedSource::Assumed, *flops_per_second});
  return cost;
}

void print_plan(const AblationFile& file, const std::vector<Arm>& arms, const AblateCommand& command) {
  const DeviceType type = device_from_name(command.device).type;
  std::map<DType, double> speeds;
  size_t width = 7;
  for (const Arm& arm : arms) width = std::max(width, arm.name.size());
  fmt::print("{:<{}}  {:>12}  {:>12}  {:>14}  {:>12}  {:>8}  {:>10}  {:>9}\n", "variant", width, "parameters",
             "FLOPs/token", "attn. FLOPs/t.", "cache bytes/t.", "steps", "memory MiB", "time");
  double seconds = 0;
  for (const Arm& arm : arms) {
    const DType dtype = arm.config.train.dtype;
    if (!speeds.count(dtype))
      speeds[dtype] =
          measure_peak_flops(dtype, Device{type}) * (type == DeviceType::Cpu ? kAssumedOfCpu : kAssumedOfGpu);
    const Cost& cost = arm.match.cost;
    const CellCost of_cell = cost_of_cell(arm.match.config, type, speeds[dtype]);
    seconds += of_cell.seconds.value_or(0) * static_cast<double>(file.seeds.size());
    fmt::print("{:<{}}  {:>12}  {:>12.4g}  {:>14.4g}  {:>12}  {:>8}  {:>10.1f}  {:>9}\n", arm.name, width,
               cost.parameters, cost.flops_per_token_training, cost.attention_flops_per_token,
               cost.cache_bytes_per_token, cost.steps, static_cast<double>(of_cell.memory) / (1 << 20),
               duration_text(*of_cell.seconds));
    if (file.equal != Budget::None && !arm.is_baseline && !arm.unmatched)
      fmt::print("{:<{}}  {}{:+.3f}% of the baseline's {}\n", "", width,
                 arm.match.adjustments.empty() ? "" : describe(arm.match.adjustments) + ": ", 100 * arm.match.off,
                 name_of(file.equal));
  }
  const auto jobs = static_cast<double>(std::max<int64_t>(1, command.jobs));
  fmt::print(
      "{} cells ({} seeds): about {} of work{}{}\n", arms.size() * file.seeds.size(), file.seeds.size(),
      duration_text(seconds),
      command.price > 0 ? fmt::format(", {:.2f} at {:.2f} an hour", seconds / 3600 * command.price, command.price) : "",
      jobs > 1 ? fmt::format("; {} side by side", command.jobs) : "");
  if (file.tune)
    fmt::print("before them a search of {} over {} values: {} trials of {} steps, not in these figures\n",
               file.tune->key, file.tune->values.size(),
               file.tune->values.size() * file.tune->seeds.size() * arms.size(),
               file.tune->steps > 0 ? std::to_string(file.tune->steps) : "all");
}

// What is left for the command to do.
enum class Progressed : uint8_t { Finished, Interrupted, Submitted };

class Ablation {
 public:
  Ablation(const AblateCommand& command, AblationFile file, std::vector<Arm> arms)
      : command_(command),
        file_(std::move(file)),
        arms_(std::move(arms)),
        path_(command.run_dir.empty() ? "runs/" + file_.name : folder_name(command.run_dir)),
        folder_(path_),
        trials_(path_ + "/trials") {}

  int status() {
    const std::optional<std::vector<Trial>> trials = file_.tune ? std::optional(trials_so_far()) : std::nullopt;
    if (trials) fmt::print("{}\n", status_table(trials_, cells_in(*trials)));
    fmt::print("{}", status_table(folder_, cells_of(file_, arms_)));
    return 0;
  }

  // As a job of an array does: others may do others.
  int one_cell() {
    RunOptions options = run_options();
    options.failed = OnFailed::Retry;
    if (file_.tune) {
      for (const Trial& trial : trials_so_far())
        if (trial.cell.name == command_.cell) return alone(trials_, trial.cell, options);
      if (!take_best(results_of(trials_so_far())))
        fail(command_.cell, "the search of {} is not finished, on which its configuration depends", file_.tune->key);
    }
    options.test = file_.test;
    std::vector<std::string> names;
    for (const CellPlan& cell : cells_of(file_, arms_)) {
      if (cell.name == command_.cell) return alone(folder_, cell, options);
      names.push_back(cell.name);
    }
    bad_input("--cell", "expected one of {}, got '{}'{}", fmt::join(names, ", "), command_.cell,
              did_you_mean(nearest_word(command_.cell, names)));
  }

  int run() {
    if (!file_.tune) folder_.check(cells_of(file_, arms_));  // before anything is written
    make_directories(path_);
    const AblationLock lock(path_);
    publish_text(path_ + "/ablation.yaml", to_yaml(file_));
    if (file_.tune)
      if (const Progressed so_far = search(); so_far != Progressed::Finished) return said(so_far);
    const std::vector<CellPlan> cells = cells_of(file_, arms_);
    RunOptions options = run_options();
    options.test = file_.test;
    if (const Progressed so_far = work(folder_, cells, options); so_far != Progressed::Finished) return said(so_far);
    fmt::print("{}\n", status_table(folder_, cells));
    const bool all = report(cells);
    return all ? code_of(RunOutcome::Finished, folder_, cells) : 1;
  }

 private:
  // Where `--slurm` has not prepared the folders, here.
  static int alone(const CellFolder& folder, const CellPlan& cell, const RunOptions& options) {
    folder.check({cell});
    if (!exists(folder.config_file(cell.name))) folder.prepare({cell});
    return code_of(run_cells(folder, {cell}, options), folder, {cell});
  }

  // A report for each size, and for the variants as they were before they were adjusted; each names the cells that
  // failed. False where one could not be written, which is told and stops no other.
  bool report(const std::vector<CellPlan>& cells) {
    std::map<std::string, std::vector<CellPlan>> groups;  // by what the report's folder is called
    for (const CellPlan& cell : cells) {
      const Arm& arm = arms_[cell.arm];
      const std::string of_size = arm.size.empty() ? "report" : "report-" + arm.size;
      if (!arm.unmatched) groups[of_size].push_back(cell);
      if (arm.unmatched || arm.is_baseline) groups[of_size + "-unmatched"].push_back(cell);
    }
    bool all = true;
    std::map<std::string, Comparison> comparisons;
    for (const auto& [name, group] : groups) {
      const bool unmatched = name.ends_with("-unmatched");
      if (unmatched && !file_.unmatched) continue;
      if (std::none_of(group.begin(), group.end(),
                       [&](const CellPlan& cell) { return folder_.status(cell).state == CellState::Done; })) {
        log::warning("{}: no cell is done", name);
        continue;
      }
      if (std::none_of(group.begin(), group.end(), [&](const CellPlan& cell) {
            return arms_[cell.arm].is_baseline && folder_.status(cell).state == CellState::Done;
          })) {
        log::warning("{} is not written: no cell of the baseline {} is done", name, file_.baseline);
        all = false;
        continue;
      }
      try {
        comparisons.emplace(name, compare_cells(group, unmatched ? Budget::None : file_.equal));
      } catch (const Error& error) {  // the other reports can be written
        log::warning("{} cannot be written: {}", name, one_line(error.what()));
        all = false;
      }
    }
    std::vector<ScalingPoint> points;
    for (const auto& [name, comparison] : comparisons)
      if (!name.ends_with("-unmatched")) add_points(comparison, name, points);
    for (const auto& [name, comparison] : comparisons) {
      Supplements supplements{read_profiles(comparison), scaling_study(points, file_.baseline)};
      supplements.decode_tokens_per_second = decoding_speeds(comparison);
      supplements.search = search_;
      supplements.test = test_of(comparison, cells);
      fmt::print("{}", comparison_text(comparison));
      try {
        ReportFolder(path_ + "/" + name, Existing::Replace).write(comparison, supplements);
        fmt::print("report: {}/{}/report.html\n\n", path_, name);
      } catch (const Error& error) {
        log::warning("{} cannot be written: {}", name, one_line(error.what()));
        all = false;
      }
    }
    return all;
  }

  static void add_points(const Comparison& comparison, const std::string& size, std::vector<ScalingPoint>& points) {
    for (const Variant& variant : comparison.variants)
      points.push_back({variant.name, size, variant.cost.training_flops(), static_cast<double>(variant.cost.parameters),
                        variant.validation_loss.values});
  }

  // Tokens a second of one sequence after so many cached tokens, with random weights: the best of rounds in which all
  // variants take their turn. None of models that take long on this device.
  std::map<std::string, double> decoding_speeds(const Comparison& comparison) const {
    constexpr int64_t kTokens = 32, kLeastContext = 1024, kMostBytes = int64_t{1} << 30;
    constexpr int kRounds = 3;
    const Device device = device_from_name(command_.device);
    std::map<std::string, double> speeds;
    for (int round = 0; round < kRounds; ++round)
      for (const Variant& variant : comparison.variants) {
        const DType dtype = variant.config.train.dtype;
        if (device.type == DeviceType::Cpu &&
            variant.cost.parameters * static_cast<int64_t>(size_of(dtype)) > kMostBytes)
          return {};
        ModelConfig model = variant.config.model;
        const int64_t context = std::max(kLeastContext, variant.config.data.sequence_length);
        model.max_sequence_length = std::max(model.max_sequence_length, context + kTokens + 1);
        const DecodeMeasurement measured =
            DecodeBenchmark(model, dtype, WeightFormat::AsComputed, device).measure({context, 1}, kTokens);
        speeds[variant.name] = std::max(speeds[variant.name], measured.tokens_per_second());
      }
    return speeds;
  }

  // What `gta eval` said of each cell.
  std::map<std::string, TestSet> test_of(const Comparison& comparison, const std::vector<CellPlan>& cells) const {
    std::map<std::string, TestSet> sets;
    if (file_.test.empty()) return sets;
    for (const Variant& variant : comparison.variants) {
      std::map<int64_t, double> losses;
      for (const size_t run : variant.runs) {
        const RunRecord& record = comparison.runs[run];
        const CellPlan* const cell = cell_of(record.folder, cells);
        if (const std::optional<double> loss = cell ? folder_.tested_loss(*cell, file_.test) : std::nullopt)
          losses[record.config.seed] = *loss;
      }
      if (!losses.empty()) sets[variant.name] = {Estimate(losses), {}};
    }
    const auto baseline = sets.find(comparison.baseline().name);
    for (auto& [name, set] : sets)
      if (baseline != sets.end() && name != baseline->first)
        set.difference = difference_between(set.loss, baseline->second.loss).of_pairs;
    return sets;
  }

  const CellPlan* cell_of(const std::string& folder, const std::vector<CellPlan>& cells) const {
    for (const CellPlan& cell : cells)
      if (folder_.run(cell.name) == folder) return &cell;
    return nullptr;
  }

  // What the file itself has variants differ in, where that is not the model alone.
  std::vector<std::string> varied() const {
    std::set<std::string> keys;
    for (const Variation& variant : file_.variants)
      for (const auto& [key, placed] : variant.keys)
        if (!key.starts_with("model.")) keys.insert(key);
    std::vector<std::string> all(keys.begin(), keys.end());
    if (!all.empty()) all.insert(all.begin(), "model.");
    return all;
  }

  Comparison compare_cells(const std::vector<CellPlan>& cells, Budget equal) const {
    CompareOptions options;
    options.name = file_.name;
    options.baseline = file_.baseline;
    options.equal = equal;
    options.tolerance = file_.tolerance;
    options.practical_difference = file_.practical_difference;
    options.varied = varied();
    if (file_.tune) options.searched = {file_.tune->key};
    std::vector<std::string> runs;
    for (const CellPlan& cell : cells) {
      runs.push_back(folder_.run(cell.name));
      options.cells[runs.back()] = {arms_[cell.arm].variant, cell.seed, folder_.status(cell).reason};
    }
    return compare(read_runs(runs), options);
  }

  RunOptions run_options() const {
    RunOptions options;
    options.jobs = std::max<int64_t>(1, command_.jobs);
    options.device = command_.device;
    options.failed = command_.retry_failed ? OnFailed::Retry : OnFailed::Leave;
    return options;
  }

  static std::vector<CellPlan> cells_in(const std::vector<Trial>& trials) {
    std::vector<CellPlan> cells;
    for (const Trial& trial : trials) cells.push_back(trial.cell);
    return cells;
  }

  static int code_of(RunOutcome outcome, const CellFolder& folder, const std::vector<CellPlan>& cells) {
    if (outcome == RunOutcome::Interrupted) return kExitInterrupted;
    return std::all_of(cells.begin(), cells.end(),
                       [&](const CellPlan& cell) { return folder.status(cell).state == CellState::Done; })
               ? 0
               : 1;
  }

  int said(Progressed so_far) const {
    if (so_far == Progressed::Submitted) return 0;
    log::info("stopped; run the same command again to go on");
    return kExitInterrupted;
  }

  // Here, or by SLURM.
  Progressed work(const CellFolder& folder, const std::vector<CellPlan>& cells, const RunOptions& options) {
    folder.check(cells);
    folder.prepare(cells);
    if (!command_.slurm)
      return run_cells(folder, cells, options) == RunOutcome::Interrupted ? Progressed::Interrupted
                                                                          : Progressed::Finished;
    ArrayJob job{file_.name, std::filesystem::absolute(path_), {}, {}, command_.slurm_options, command_.jobs};
    for (const CellPlan& cell : cells) {
      const CellState state = folder.status(cell).state;
      if (state == CellState::Waiting || state == CellState::Interrupted ||
          (state == CellState::Failed && command_.retry_failed))
        job.cells.push_back(cell.name);
    }
    if (job.cells.empty()) return Progressed::Finished;
    job.arguments = {std::filesystem::absolute(file_.path), "--run-dir", job.folder, "--device", command_.device};
    for (const std::string& text : command_.overrides) job.arguments.insert(job.arguments.end(), {"--set", text});
    fmt::print("{}: {} cells; when they are done, run this again{}\n", submit(job), job.cells.size(),
               &folder == &trials_ ? " for what comes after the search" : " without --slurm for the report");
    return Progressed::Submitted;
  }

  std::vector<TrialResult> results_of(const std::vector<Trial>& trials) const {
    std::vector<TrialResult> results;
    for (const Trial& trial : trials) {
      const CellStatus status = trials_.status(trial.cell);
      if (status.state != CellState::Done && status.state != CellState::Failed) return {};
      results.push_back(
          {arms_[trial.cell.arm].name, trial.value, trial.cell.seed,
           status.state == CellState::Done ? status.validation_loss : std::numeric_limits<double>::infinity()});
    }
    return results;
  }

  // With the grid widened where the first one's results, all there, say so.
  std::vector<Trial> trials_so_far() const {
    const std::vector<double>& values = file_.tune->values;
    std::vector<Trial> trials = trials_of(file_, arms_, values);
    const std::vector<TrialResult> results = results_of(trials);
    return results.empty() ? trials
                           : trials_of(file_, arms_, widened(values, results, *find_config_key(file_.tune->key)));
  }

  // Gives each arm its best value; false where there are no results.
  bool take_best(const std::vector<TrialResult>& results) {
    if (results.empty()) return false;
    const ConfigKey& key = *find_config_key(file_.tune->key);
    for (Arm& arm : arms_) {
      const std::optional<double> best = best_value(results, arm.name);
      if (!best) fail(file_.path, "no trial of {} ended with a loss: see {}/failed", arm.name, trials_.path());
      key.set(arm.config, *best);
      key.set(arm.match.config, *best);
    }
    return true;
  }

  void keep_search(const std::vector<Trial>& trials) {
    search_.emplace().key = file_.tune->key;
    const std::vector<TrialResult> results = results_of(trials);
    for (const TrialResult& result : results) {
      search_->trials.push_back({result.arm, result.value, result.seed, result.loss});
      if (const std::optional<double> best = best_value(results, result.arm)) search_->taken[result.arm] = *best;
    }
  }

  Progressed search() {
    while (true) {
      const std::vector<Trial> trials = trials_so_far();
      log::info("searches {} over {} values", file_.tune->key, trials.size() / file_.tune->seeds.size() / arms_.size());
      if (const Progressed so_far = work(trials_, cells_in(trials), run_options()); so_far != Progressed::Finished)
        return so_far;
      if (trials_so_far().size() > trials.size()) continue;  // the best of an arm was at the edge
      keep_search(trials);
      take_best(results_of(trials));
      for (const Arm& arm : arms_)
        log::info("{}: {} {}", arm.name, file_.tune->key,
                  std::get<double>(find_config_key(file_.tune->key)->get(arm.config)));
      return Progressed::Finished;
    }
  }

  const AblateCommand& command_;
  AblationFile file_;
  std::vector<Arm> arms_;
  std::string path_;
  CellFolder folder_, trials_;
  std::optional<Search> search_;
};

}  // namespace

int run_ablate(const AblateCommand& command) {
  AblationFile file = read_ablation(command.file, command.overrides);
  std::vector<Arm> arms = arms_of(file);
  if (!command.status && command.cell.empty()) print_plan(file, arms, command);
  if (command.dry_run) return 0;
  Ablation ablation(command, std::move(file), std::move(arms));
  if (command.status) return ablation.status();
  return command.cell.empty() ? ablation.run() : ablation.one_cell();
}

}  // namespace gta
