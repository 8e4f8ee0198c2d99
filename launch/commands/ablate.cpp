// gta ablate: plans the cells of an ablation's file, runs them, and writes their report.
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"
#include "launch/ablate/ablation_folder.h"
#include "launch/ablate/runner.h"
#include "launch/ablate/search.h"
#include "launch/ablate/slurm.h"
#include "launch/commands/ablation_plan.h"
#include "launch/commands/ablation_reports.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"
#include "launch/run_folder.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

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
    if (!file_.tune)
      folder_.check(cells_of(file_, arms_), CellFolder::Unreadable::Leave);  // before anything is written
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
    const bool all = write_reports({file_, arms_, cells, folder_, command_.device, search_});
    return all ? code_of(RunOutcome::Finished, folder_, cells) : 1;
  }

 private:
  // Where `--slurm` has not prepared the folders, here.
  static int alone(const CellFolder& folder, const CellPlan& cell, const RunOptions& options) {
    folder.check({cell}, CellFolder::Unreadable::Leave);
    if (!exists(folder.config_file(cell.name))) folder.prepare({cell});
    return code_of(run_cells(folder, {cell}, options), folder, {cell});
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
    folder.check(cells, &folder == &trials_ ? CellFolder::Unreadable::Refuse : CellFolder::Unreadable::Leave);
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
      if (status.unreadable || (status.state != CellState::Done && status.state != CellState::Failed)) return {};
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
