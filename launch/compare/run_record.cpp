#include "launch/compare/run_record.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoints/reader.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/parallel.h"
#include "launch/compare/variants.h"
#include "launch/config/config.h"
#include "launch/config/history.h"
#include "launch/metrics.h"

namespace gta {
namespace {

constexpr int64_t kLargestConfig = 1 << 24, kLargestEnvironment = 1 << 20;

// Fills a record from metrics.jsonl, row by row: of 100,000 steps no more stays than of a thousand.
class Curves {
 public:
  explicit Curves(RunRecord& record)
      : record_(record), last_(record.config.train.steps), width_((last_ + kPoints - 1) / kPoints) {
    buckets_.resize(static_cast<size_t>((last_ + width_ - 1) / width_));
  }

  void take(const MetricsRow& row) {
    const int64_t step = step_of(row);
    if (step < 1 || step > last_) {
      ++beyond_;
      return;
    }
    if (const auto* s = std::get_if<StepRow>(&row)) return take(*s);
    if (const auto* v = std::get_if<ValidationRow>(&row)) take(*v);
  }

  void conclude(const RowCount& count) {
    for (const Bucket& bucket : buckets_)
      if (bucket.steps > 0)
        record_.training.push_back(
            {bucket.step, bucket.tokens, bucket.seconds, bucket.loss / static_cast<double>(bucket.steps)});
    record_.validation.clear();
    for (const auto& [step, point] : validation_)
      if (std::isfinite(point.loss)) record_.validation.push_back(point);
    record_.seconds_per_step = record_.tokens_per_second = record_.memory_bytes =
        std::numeric_limits<double>::quiet_NaN();
    if (!seconds_.empty()) {
      const auto middle = seconds_.begin() + static_cast<int64_t>(seconds_.size() / 2);
      std::nth_element(seconds_.begin(), middle, seconds_.end());
      record_.seconds_per_step = *middle;
      if (*middle > 0)
        record_.tokens_per_second =
            static_cast<double>(record_.config.train.global_batch_size * record_.config.data.sequence_length) / *middle;
    }
    if (memory_ > 0) record_.memory_bytes = static_cast<double>(memory_);
    record_.seconds = elapsed_;
    const auto remark = [&](int64_t rows, const char* what) {
      if (rows > 0) record_.remarks.push_back(fmt::format("metrics.jsonl: {} {}", rows, what));
    };
    remark(count.others, "lines are no rows, and are left out");
    remark(beyond_, "rows are of steps that the configuration does not have, and are left out");
    remark(again_, "rows of steps come late or a second time, and are left out");
    remark(record_.last_step - taken_, "steps have no row");
    remark(not_finite_, "steps have a loss that is no number");
    if (count.cut) record_.remarks.emplace_back("metrics.jsonl: the last line is cut, and is left out");
  }

 private:
  struct Bucket {
    int64_t steps = 0, step = 0, tokens = 0;
    double loss = 0, seconds = 0;
  };

  void take(const StepRow& row) {
    if (row.step <= record_.last_step) {
      ++again_;
      return;
    }
    record_.last_step = row.step;
    ++taken_;
    if (std::isfinite(row.step_seconds) && row.step_seconds >= 0) {
      elapsed_ += row.step_seconds;
      seconds_.push_back(row.step_seconds);
    }
    memory_ = std::max(memory_, row.memory_bytes);
    if (!std::isfinite(row.loss)) {
      ++not_finite_;
      return;
    }
    Bucket& bucket = buckets_[static_cast<size_t>((row.step - 1) / width_)];
    ++bucket.steps;
    bucket.step = row.step;
    bucket.tokens = row.tokens;
    bucket.seconds = elapsed_;
    bucket.loss += row.loss;
  }

  // The last one of a step counts.
  void take(const ValidationRow& row) {
    const double perplexity = std::isfinite(row.perplexity) ? row.perplexity : std::exp(row.loss);
    const ValidationPoint point{row.step, row.tokens, elapsed_, row.loss, row.bits_per_byte, perplexity};
    if (row.step == last_) record_.final = point;
    if (row.step % grid_ != 0 && row.step != last_) return;
    validation_[row.step] = point;
    while (validation_.size() > kMostPoints) {
      grid_ *= 2;
      std::erase_if(validation_, [&](const auto& v) { return v.first % grid_ != 0 && v.first != last_; });
      if (validation_.size() <= 1) break;
    }
  }

  static constexpr int64_t kPoints = kMostPoints / 2;
  RunRecord& record_;
  int64_t last_, width_, grid_ = 1, beyond_ = 0, again_ = 0, taken_ = 0, not_finite_ = 0, memory_ = 0;
  double elapsed_ = 0;
  std::vector<Bucket> buckets_;
  std::vector<double> seconds_;
  std::map<int64_t, ValidationPoint> validation_;
};

void read_environment(RunRecord& record) {
  const std::string path = record.folder + "/environment.json";
  try {
    if (!exists(path)) {
      record.remarks.emplace_back("environment.json is not there: which program ran where is not known");
      return;
    }
    require_file(path);
    const nlohmann::json json = nlohmann::json::parse(read_file(path, kLargestEnvironment), nullptr, false);
    if (!json.is_object()) {
      record.remarks.emplace_back("environment.json is damaged: which program ran where is not known");
      return;
    }
    for (const char* key :
         {"gta", "commit", "compiler", "vector_width", "products", "device", "processor", "processors", "threads",
          "system", "memory_bytes", "schedule_version", "started", "command"})
      if (const auto found = json.find(key); found != json.end() && found->is_string())
        record.environment[key] = without_directories(printable(found->get<std::string>(), 2000));
      else if (found != json.end() && found->is_number_integer())
        record.environment[key] = found->dump();
  } catch (const Error& error) {
    record.remarks.push_back(printable(one_line(error.what()), 1000));
  }
}

void read_checkpoint(RunRecord& record) {
  const std::string folder = record.folder + "/checkpoints";
  try {
    std::vector<std::string> names = list_checkpoints(folder);
    for (auto name = names.rbegin(); name != names.rend(); ++name) {
      try {
        const Checkpoint checkpoint = Checkpoint::open(folder + "/" + *name);
        record.data_hash = checkpoint.position().data_hash;
        record.order = checkpoint.position().order;
        record.checkpoint_step = checkpoint.position().step;
        record.next_sample = checkpoint.position().next_sample;
        record.skipped_steps = checkpoint.position().skipped_steps;
        for (const Checkpoint::Entry& entry : checkpoint.entries())
          if (entry.part == kTokenizerPart) record.tokenizer_hash = entry.hash;
        for (const ConfigDifference& difference :
             differences(parse_run_config(checkpoint.config_yaml(), checkpoint.path() + "/config"), record.config))
          if (changes_training(difference.key)) record.edited.push_back(difference.key);
        return;
      } catch (const Error& error) {
        record.remarks.push_back(printable(one_line(error.what()), 1000));
      }
    }
    record.remarks.emplace_back("no checkpoint is there and whole: what data it saw is not known");
  } catch (const Error& error) {
    record.remarks.push_back(printable(one_line(error.what()), 1000));
  }
}

void read_initial(RunRecord& record) {
  const std::string file = record.folder + "/initial.json";
  try {
    if (exists(file)) record.initial = read_initial_parameters(file);
  } catch (const Error& error) {
    record.remarks.push_back(printable(one_line(error.what()), 1000));
  }
}

void conclude(RunRecord& record) {
  const auto is = [&](RunState state, std::string reason) {
    record.state = state;
    record.reason = std::move(reason);
  };
  const int64_t steps = record.config.train.steps;
  if (record.final && std::isfinite(record.final->loss)) {
    if (record.last_step < steps)
      record.remarks.push_back(
          fmt::format("metrics.jsonl: the last step's row is of {} of {}", record.last_step, steps));
    return is(RunState::Done, "");
  }
  if (record.final) return is(RunState::Diverged, "its validation loss at the end is no number");
  if (record.last_step >= steps)
    return is(RunState::WithoutValidation,
              "nothing was validated at its end: its configuration has no data.validation, "
              "or the row is lost");
  if (record.last_step == 0) return is(RunState::Unfinished, fmt::format("has no step of {}", steps));
  is(RunState::Unfinished, fmt::format("ends at step {} of {}", record.last_step, steps));
}

}  // namespace

const char* name_of(RunState state) {
  switch (state) {
    case RunState::Done:
      return "done";
    case RunState::Unfinished:
      return "unfinished";
    case RunState::Diverged:
      return "diverged";
    case RunState::WithoutValidation:
      return "without validation";
    case RunState::Unreadable:
      return "unreadable";
  }
  return "?";
}

RunRecord read_run(const std::string& folder) {
  RunRecord record;
  record.folder = folder;
  while (record.folder.size() > 1 && record.folder.ends_with('/')) record.folder.pop_back();
  try {
    require(is_directory(record.folder), "run", "{} is no folder: expected a run's, as 'gta train' makes it", folder);
    const std::string config = record.folder + "/config.yaml", metrics = record.folder + "/metrics.jsonl";
    require(exists(config) && exists(metrics), "run", "{} has no {}: expected a run's folder, as 'gta train' makes it",
            folder, exists(config) ? "metrics.jsonl" : "config.yaml");
    require_file(config);
    require_file(metrics);
    const std::string text = read_file(config, kLargestConfig);
    record.config = parse_run_config(text, config);
    require(record.config.model.vocab_size > 0, "run", "{} has no model.vocab_size: expected a resolved configuration",
            config);
    record.changes = history_of(text);
    Curves curves(record);
    curves.conclude(each_row(metrics, [&](const MetricsRow& row) {
      curves.take(row);
      record.last_rows.take(row);
    }));
    read_environment(record);
    read_checkpoint(record);
    read_initial(record);
    conclude(record);
  } catch (const Error& error) {
    record.state = RunState::Unreadable;
    record.reason = printable(one_line(error.what()), 1000);
  }
  return record;
}

std::vector<RunRecord> read_runs(const std::vector<std::string>& folders) {
  std::vector<RunRecord> records(folders.size());
  parallel_for(static_cast<int64_t>(folders.size()),
               [&](int64_t i) { records[static_cast<size_t>(i)] = read_run(folders[static_cast<size_t>(i)]); });
  return records;
}

}  // namespace gta
