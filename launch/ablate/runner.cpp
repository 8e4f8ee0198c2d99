#include "launch/ablate/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <list>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "core/device.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/processors.h"
#include "launch/ablate/child_process.h"
#include "launch/compare/text.h"
#include "launch/progress.h"
#include "launch/signals.h"
#include "launch/tensorboard.h"

namespace gta {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kBetweenLooks = std::chrono::milliseconds(100), kBetweenLines = std::chrono::milliseconds(30'000);
constexpr auto kBetweenWaits = std::chrono::minutes(5);

int64_t size_of(const std::string& output) { return exists(output) ? File(output, File::Mode::Read).size() : 0; }

// The last thing that a command called an error; else the end of what it said. What stands before the byte `from` was
// said by earlier ones.
std::string reason_in(const std::string& output, int64_t from, int code) {
  constexpr size_t kLongestReason = 2000;
  std::string last, error;
  if (exists(output)) {
    const std::string text = read_file(output);
    std::istringstream lines(text.substr(std::min(text.size(), static_cast<size_t>(from))));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("gta: error: ")) error = line.substr(12);
      if (!line.empty()) last = line;
    }
  }
  const std::string said = printable(!error.empty() ? error : last, kLongestReason);
  return code > 128 ? fmt::format("ended by signal {}{}", code - 128, said.empty() ? "" : "; it last said: " + said)
                    : fmt::format("{} (exit code {})", said.empty() ? "it said nothing" : said, code);
}

// Seconds of work that are left, of a cell whose speed others of its arm tell where it has not begun; nothing where
// none has.
class Estimate {
 public:
  void add(const CellPlan& cell, const CellStatus& status) {
    if (status.step == 0 || !std::isfinite(status.seconds_per_step)) return;
    speeds_[cell.arm] = status.seconds_per_step;
  }
  std::optional<double> seconds_left(const CellPlan& cell, const CellStatus& status) const {
    if (status.state == CellState::Done || status.state == CellState::Failed) return 0.0;
    if (speeds_.empty()) return std::nullopt;
    double sum = 0;
    for (const auto& [arm, speed] : speeds_) sum += speed;
    const auto own = speeds_.find(cell.arm);
    const double speed = own != speeds_.end() ? own->second : sum / static_cast<double>(speeds_.size());
    return speed * static_cast<double>(cell.config.train.steps - status.step);
  }

 private:
  std::map<size_t, double> speeds_;
};

// Where all of them stand.
struct Overview {
  std::vector<CellStatus> statuses;
  std::vector<std::optional<double>> seconds_left;  // of each; nothing where no speed is known
  std::map<CellState, int64_t> counts;
  std::optional<double> all_seconds_left;
};
Overview overview_of(const CellFolder& folder, const std::vector<CellPlan>& cells) {
  Overview overview;
  Estimate estimate;
  for (const CellPlan& cell : cells) {
    overview.statuses.push_back(folder.status(cell));
    estimate.add(cell, overview.statuses.back());
    ++overview.counts[overview.statuses.back().state];
  }
  overview.all_seconds_left = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::optional<double> left = estimate.seconds_left(cells[i], overview.statuses[i]);
    overview.seconds_left.push_back(left);
    if (!left) overview.all_seconds_left.reset();
    if (overview.all_seconds_left) *overview.all_seconds_left += *left;
  }
  return overview;
}

class Runner {
 public:
  Runner(const CellFolder& folder, const std::vector<CellPlan>& cells, const RunOptions& options)
      : folder_(folder), cells_(cells), options_(options) {}

  RunOutcome run() {
    int64_t done = 0;
    for (size_t i = 0; i < cells_.size(); ++i) {
      CellStatus status = folder_.status(cells_[i]);
      done += status.state == CellState::Done;
      if (status.state == CellState::Failed && options_.failed == OnFailed::Retry) {
        folder_.forget_failure(cells_[i]);
        status = folder_.status(cells_[i]);
      }
      if (status.unreadable) leave(cells_[i], status);
      if (status.state == CellState::Failed || (status.state == CellState::Done && !wants_test(cells_[i]))) continue;
      waiting_.push_back(i);
    }
    log::info("{} of {} cells are done{}", done, cells_.size(),
              options_.jobs > 1 ? fmt::format("; {} side by side", options_.jobs) : "");
    said_ = Clock::now();
    while (!running_.empty() || (!waiting_.empty() && !stopping_)) {
      if (stop_requested() && !stopping_) stop();
      start_some();
      std::this_thread::sleep_for(kBetweenLooks);
      collect();
      if (Clock::now() - said_ > kBetweenLines) say_progress();
    }
    return stopping_ ? RunOutcome::Interrupted : RunOutcome::Finished;
  }

 private:
  enum class Stage : uint8_t { Train, Test };
  struct Job {
    size_t cell;
    int64_t slot;
    Stage stage;
    ChildProcess process;
    int64_t said_before = 0;  // bytes that are in its output from earlier starts
    bool described = false;   // to TensorBoard
  };

  bool wants_test(const CellPlan& cell) const {
    return !options_.test.empty() && !folder_.tested_loss(cell, options_.test);
  }

  void start_some() {
    for (auto next = waiting_.begin(); !stopping_ && next != waiting_.end();) {
      if (static_cast<int64_t>(running_.size()) >= options_.jobs) return;
      const CellStatus status = folder_.status(cells_[*next]);
      if (status.state == CellState::Running) {
        say_waiting(cells_[*next], status);
        ++next;
        continue;
      }
      if (status.unreadable)
        leave(cells_[*next], status);
      else if (status.state != CellState::Done || wants_test(cells_[*next]))
        start(*next, status);
      next = waiting_.erase(next);
    }
  }

  // What is in its folder stays as it is.
  static void leave(const CellPlan& cell, const CellStatus& status) {
    log::warning("{} failed: {}", cell.name, status.reason);
  }

  // Where a cell trains in another process, as of an earlier start, which saves: once, then now and then.
  void say_waiting(const CellPlan& cell, const CellStatus& status) {
    const auto [said, first] = waits_said_.try_emplace(cell.name, Clock::now());
    if (!first && Clock::now() - said->second < kBetweenWaits) return;
    said->second = Clock::now();
    log::info("{} is waited for: process {}, on this host or another, trains in {} (step {} of {})", cell.name,
              status.holder, folder_.run(cell.name), status.step, cell.config.train.steps);
  }

  void start(size_t cell, const CellStatus& status) {
    int64_t slot = 0;
    while (std::any_of(running_.begin(), running_.end(), [&](const Job& job) { return job.slot == slot; })) ++slot;
    const CellPlan& plan = cells_[cell];
    if (status.state == CellState::Done) return start_test(cell, slot);
    log::info("{} {}", plan.name,
              status.state == CellState::Interrupted && status.step > 0
                  ? fmt::format("goes on from step {} or before", status.step)
                  : "begins");
    std::vector<std::string> words = threads();
    words.insert(words.end(), {"train", folder_.config_file(plan.name), "--run-dir", folder_.run(plan.name), "--device",
                               device(slot)});
    const std::string output = folder_.output_file(plan.name);
    const int64_t said_before = size_of(output);
    running_.push_back({cell, slot, Stage::Train, ChildProcess(words, output), said_before});
  }

  // Its result is the command's output, when it is whole.
  void start_test(size_t cell, int64_t slot) {
    const CellPlan& plan = cells_[cell];
    std::vector<std::string> words = threads();
    words.insert(words.end(),
                 {"eval", folder_.run(plan.name), "--json", "--device", device(slot), "--log-level", "error"});
    for (const std::string& file : options_.test) words.insert(words.end(), {"--data", file});
    const std::string output = test_output(plan);
    remove_tree(output);
    running_.push_back({cell, slot, Stage::Test, ChildProcess(words, output)});
  }

  // Processors are divided among the jobs.
  std::vector<std::string> threads() const {
    return {"--threads", std::to_string(std::max<int64_t>(1, available_processors() / options_.jobs))};
  }

  // With several GPUs each job has one of its own.
  std::string device(int64_t slot) const {
    const int gpus = options_.device == "auto" || options_.device == "cuda" ? cuda_device_count() : 0;
    return gpus > 0 && options_.jobs > 1 ? fmt::format("cuda:{}", slot % gpus) : options_.device;
  }

  void collect() {
    for (auto next = running_.begin(); next != running_.end();) {
      const auto job = next++;
      const std::optional<int> code = job->process.ended();
      describe(*job);
      if (!code) continue;
      std::list<Job> ended;
      ended.splice(ended.begin(), running_, job);
      ended.front().stage == Stage::Train ? trained(ended.front(), *code) : tested(ended.front(), *code);
    }
  }

  // As soon as its run has begun to write for TensorBoard.
  void describe(Job& job) const {
    const CellPlan& cell = cells_[job.cell];
    const std::string folder = folder_.run(cell.name) + "/tensorboard";
    if (job.described || !is_directory(folder)) return;
    write_hyperparameters(folder, cell.name, cell.keys);
    job.described = true;
  }

  void trained(const Job& job, int code) {
    const CellPlan& cell = cells_[job.cell];
    const CellStatus status = folder_.status(cell);
    if (code == kExitInterrupted) {
      log::info("{} is saved at step {} of {}", cell.name, status.step, cell.config.train.steps);
    } else if (code != 0 && stopping_ && code > 128) {
      log::warning("{} was ended by signal {}; it goes on from its last checkpoint", cell.name, code - 128);
    } else if (code != 0) {
      failed(cell, reason_in(folder_.output_file(cell.name), job.said_before, code));
    } else if (status.state != CellState::Done) {
      failed(cell, fmt::format("ended without an error at step {} of {}, and is not whole", status.step,
                               cell.config.train.steps));
    } else {
      log::info("{} is done: validation loss {:.4f}{}", cell.name, status.validation_loss, whole());
      if (wants_test(cell) && !stopping_) start_test(job.cell, job.slot);
    }
  }

  void tested(const Job& job, int code) {
    const CellPlan& cell = cells_[job.cell];
    const std::string output = test_output(cell);
    if (code == 0) return folder_.keep_test(cell, options_.test, read_file(output));
    if (!stopping_) log::warning("{} is done, and its test failed: {}", cell.name, reason_in(output, 0, code));
  }

  std::string test_output(const CellPlan& cell) const { return folder_.output_file(cell.name) + ".test"; }

  void failed(const CellPlan& cell, const std::string& reason) {
    log::warning("{} failed: {}", cell.name, reason);
    folder_.note_failure(cell, reason);
  }

  void stop() {
    stopping_ = true;
    for (const Job& job : running_) job.process.signal(SIGTERM);
  }

  // " | 3 of 9 done, ETA 20:12"
  std::string whole() const {
    const Overview all = overview_of(folder_, cells_);
    const auto count = [&](CellState state) {
      const auto found = all.counts.find(state);
      return found == all.counts.end() ? int64_t{0} : found->second;
    };
    const int64_t done = count(CellState::Done), failed = count(CellState::Failed);
    const int64_t jobs =
        std::max<int64_t>(1, std::min<int64_t>(options_.jobs, static_cast<int64_t>(cells_.size()) - done));
    const double seconds = all.all_seconds_left.value_or(0);
    return fmt::format(" | {} of {} done{}{}", done, cells_.size(),
                       failed > 0 ? fmt::format(", {} failed", failed) : "",
                       seconds > 0 ? ", ETA " + duration_text(seconds / static_cast<double>(jobs)) : "");
  }

  void say_progress() {
    said_ = Clock::now();
    for (const Job& job : running_) {
      const CellPlan& cell = cells_[job.cell];
      if (job.stage == Stage::Test) {
        log::info("{} is tested", cell.name);
        continue;
      }
      const CellStatus status = folder_.status(cell);
      log::info("{} step {}/{} | loss {:.3f}{}", cell.name, status.step, cell.config.train.steps, status.loss,
                &job == &running_.back() ? whole() : "");
    }
  }

  const CellFolder& folder_;
  const std::vector<CellPlan>& cells_;
  const RunOptions& options_;
  std::vector<size_t> waiting_;
  std::list<Job> running_;
  std::map<std::string, Clock::time_point> waits_said_;  // by cell
  bool stopping_ = false;
  Clock::time_point said_;
};

}  // namespace

RunOutcome run_cells(const CellFolder& folder, const std::vector<CellPlan>& cells, const RunOptions& options) {
  return Runner(folder, cells, options).run();
}

std::string status_table(const CellFolder& folder, const std::vector<CellPlan>& cells) {
  size_t width = 4;
  for (const CellPlan& cell : cells) width = std::max(width, cell.name.size());
  Overview all = overview_of(folder, cells);
  std::string text = fmt::format("{:<{}}  {:<11}  {:>15}  {:>8}  {:>10}  {:>8}\n", "cell", width, "state", "step",
                                 "loss", "validation", "time left");
  for (size_t i = 0; i < cells.size(); ++i) {
    const CellStatus& s = all.statuses[i];
    const std::optional<double>& left = all.seconds_left[i];
    const auto number = [](double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; };
    text += fmt::format("{:<{}}  {:<11}  {:>15}  {:>8}  {:>10}  {:>8}\n", cells[i].name, width, name_of(s.state),
                        fmt::format("{}/{}", s.step, cells[i].config.train.steps), s.step > 0 ? number(s.loss) : "-",
                        number(s.validation_loss),
                        s.state == CellState::Done || s.state == CellState::Failed ? ""
                        : left                                                     ? duration_text(*left)
                                                                                   : "-");
    if (!s.reason.empty()) text += fmt::format("{:<{}}  {}\n", "", width, s.reason);
  }
  text += fmt::format("{} of {} done", all.counts[CellState::Done], cells.size());
  for (CellState state : {CellState::Running, CellState::Interrupted, CellState::Failed, CellState::Waiting})
    if (all.counts[state] > 0) text += fmt::format(", {} {}", all.counts[state], name_of(state));
  if (const double seconds = all.all_seconds_left.value_or(0); seconds > 0)
    text += fmt::format("; {} of work left, one after the other", duration_text(seconds));
  return text + "\n";
}

}  // namespace gta
