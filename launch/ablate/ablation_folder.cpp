#include "launch/ablate/ablation_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoints/reader.h"
#include "core/error.h"
#include "core/io/file.h"
#include "launch/compare/text.h"
#include "launch/compare/variants.h"
#include "launch/config/config.h"
#include "launch/run_folder.h"

namespace gta {
namespace {

constexpr int64_t kLargestConfig = 1 << 24, kLargestReason = 1 << 14;
constexpr int64_t kStepsForSpeed = 20, kMostRows = 2000;  // that are looked at

// Of the run that is in a folder; nothing where there is none. An Error where that cannot be told.
std::optional<RunConfig> config_in(const std::string& run) {
  const std::string file = run + "/config.yaml";
  if (const auto target = nowhere_behind(run))
    fail(run, "is a link to {}, where nothing is (a disk that is not mounted?)", *target);
  return exists(file) ? std::optional(parse_run_config(read_file(file, kLargestConfig), file)) : std::nullopt;
}

// Of a run that is there and one that is wanted: what would be learnt differently, "" where nothing.
std::string what_differs(RunConfig before, RunConfig after) {
  if (after.model.vocab_size == 0) after.model.vocab_size = before.model.vocab_size;
  std::string text;
  if (before.seed != after.seed) text = fmt::format("seed: {} there, {} here", before.seed, after.seed);
  const std::vector<std::map<std::string, std::string>> settings = {settings_of(before), settings_of(after)};
  for (const std::string& key : differing_keys(settings)) {
    const auto value = [&](size_t i) {
      const auto found = settings[i].find(key);
      return found == settings[i].end() ? std::string("not used") : found->second;
    };
    text += fmt::format("{}{}: {} there, {} here", text.empty() ? "" : "; ", key, value(0), value(1));
  }
  return text;
}

// Of a failure's file; that it cannot be read is told in its place, and ends nothing.
std::string reason_in(const std::string& file) {
  try {
    return printable(read_file(file, kLargestReason), kLargestReason);
  } catch (const Error& error) {
    return printable(error.what());
  }
}

}  // namespace

const char* name_of(CellState state) {
  switch (state) {
    case CellState::Waiting:
      return "waiting";
    case CellState::Running:
      return "running";
    case CellState::Interrupted:
      return "interrupted";
    case CellState::Done:
      return "done";
    case CellState::Failed:
      return "failed";
  }
  return "?";
}

void CellFolder::check(const std::vector<CellPlan>& cells, Unreadable unreadable) const {
  std::string problems, others;
  for (const CellPlan& cell : cells) {
    try {
      const std::optional<RunConfig> there = config_in(run(cell.name));
      if (!there) continue;
      if (const std::string differs = what_differs(*there, cell.config); !differs.empty())
        others += fmt::format("\n[{}] is there with another configuration: {}", run(cell.name), differs);
    } catch (const Error& error) {
      if (unreadable == Unreadable::Refuse) problems += "\n" + advice(cell, error.what());
    }
  }
  if (!others.empty())
    problems += others + "\nchange `name:` for another ablation, or move these folders away to train them anew";
  if (!problems.empty()) throw Error(ErrorKind::BadInput, "", problems.substr(1));
}

std::string CellFolder::advice(const CellPlan& cell, const std::string& wrong) const {
  return fmt::format(
      "{}; nothing is changed there: put it right, or move {} away to train it anew; what was asked for "
      "stands in {}",
      printable(one_line(wrong), kLargestReason), run(cell.name), config_file(cell.name));
}

void CellFolder::prepare(const std::vector<CellPlan>& cells) const {
  for (const char* part : {"/configs", "/cells", "/output", "/failed"}) make_directories(path_ + part);
  for (const CellPlan& cell : cells) publish_text(config_file(cell.name), to_yaml(cell.config));
}

CellStatus CellFolder::status(const CellPlan& cell) const {
  try {
    return status_of_files(cell);
  } catch (const Error& error) {
    CellStatus status;
    status.state = CellState::Failed;
    status.reason = advice(cell, error.what());
    status.unreadable = true;
    return status;
  }
}

CellStatus CellFolder::status_of_files(const CellPlan& cell) const {
  CellStatus status;
  const std::string folder = run(cell.name);
  const std::optional<std::string> holder = lock_holder(folder);
  if (!holder) (void)config_in(folder);
  const int64_t steps = cell.config.train.steps;
  const bool validates = !cell.config.data.validation.empty();
  double seconds = 0;
  int64_t timed = 0, rows = 0;
  each_row_from_the_end(folder + "/metrics.jsonl", [&](const MetricsRow& row, int64_t) {
    if (const auto* validation = std::get_if<ValidationRow>(&row))
      if (std::isnan(status.validation_loss)) status.validation_loss = validation->loss;
    if (const auto* step = std::get_if<StepRow>(&row)) {
      if (status.step == 0) std::tie(status.step, status.loss) = std::pair(step->step, step->loss);
      if (std::isfinite(step->step_seconds) && timed < kStepsForSpeed) {
        seconds += step->step_seconds;
        ++timed;
      }
    }
    return ++rows < kMostRows && (timed < kStepsForSpeed || (validates && std::isnan(status.validation_loss)));
  });
  if (timed > 0) status.seconds_per_step = seconds / static_cast<double>(timed);
  const bool trained = status.step >= steps && (!validates || has_validation(folder + "/metrics.jsonl", steps));
  const std::vector<std::string> checkpoints =
      trained ? list_checkpoints(folder + "/checkpoints") : std::vector<std::string>{};
  if (!checkpoints.empty() && step_of(checkpoints.back()) >= steps)
    status.state = CellState::Done;
  else if (holder)
    std::tie(status.state, status.holder) = std::pair(CellState::Running, *holder);
  else if (exists(failure_file(cell.name)))
    status.state = CellState::Failed;
  else if (exists(folder))
    status.state = CellState::Interrupted;
  if (status.state == CellState::Failed) status.reason = reason_in(failure_file(cell.name));
  return status;
}

void CellFolder::note_failure(const CellPlan& cell, const std::string& reason) const {
  publish_text(failure_file(cell.name), reason);
}

void CellFolder::forget_failure(const CellPlan& cell) const {
  const std::string file = failure_file(cell.name);
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) fail(file, "cannot be removed: {}", std::strerror(errno));
}

void CellFolder::keep_test(const CellPlan& cell, const std::vector<std::string>& shards,
                           const std::string& said) const {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(said, nullptr, false);
  require(json.is_object(), "test", "{} was evaluated, and what came is no result: {}", cell.name, printable(said));
  json["shards"] = shards;
  publish_text(test_file(cell.name), json.dump() + "\n");
}

std::optional<double> CellFolder::tested_loss(const CellPlan& cell, const std::vector<std::string>& shards) const {
  constexpr int64_t kLargest = 1 << 24;
  const std::string file = test_file(cell.name);
  if (!exists(file)) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(read_file(file, kLargest), nullptr, false);
  if (!json.is_object() || !json.contains("loss") || !json["loss"].is_number()) return std::nullopt;
  if (!json.contains("shards") || json["shards"] != nlohmann::json(shards)) return std::nullopt;
  return json["loss"].get<double>();
}

AblationLock::AblationLock(const std::string& folder) {
  const std::string path = folder + "/ablation.lock";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) fail(path, "cannot be opened: {}", std::strerror(errno));
  if (::flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;  // some file systems have no locks
  ::close(file_);
  fail(folder, "another process runs this ablation: 'gta ablate FILE --status' says where it stands");
}

AblationLock::~AblationLock() { ::close(file_); }

}  // namespace gta
