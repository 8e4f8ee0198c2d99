// metrics.jsonl, what a training says of itself in numbers: one JSON object a line, written as it goes. A row has a
// kind and a step; what else it has stands in one table for each kind (metrics.cpp), by which rows are written, read
// and documented.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace gta {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // what a row does not say

struct StepRow {
  int64_t step = 0, tokens = 0;
  double loss = kUnknown, learning_rate = kUnknown, gradient_norm = kUnknown;
  double step_seconds = kUnknown, tokens_per_second = kUnknown, flops_per_second = kUnknown, sol = kUnknown;
  int64_t memory_bytes = 0;
  double data_wait_seconds = kUnknown;
  double communication_seconds = kUnknown, communication_busy_seconds = kUnknown, communication_bytes = kUnknown;
  double slowest_rank = kUnknown;
  double time = kUnknown;
};

struct ValidationRow {
  int64_t step = 0, tokens = 0;
  double loss = kUnknown, perplexity = kUnknown, bits_per_byte = kUnknown;
  double time = kUnknown;
};

struct DiagnosisRow {
  int64_t step = 0;
  std::map<std::string, double> values;  // "gradient_norm/layers.0" (diagnose.h)
  double time = kUnknown;
};

struct BreakdownRow {
  int64_t step = 0;
  std::map<std::string, double> values;  // "loss/position/3-4" (loss_breakdown.h)
  double time = kUnknown;
};

using MetricsRow = std::variant<StepRow, ValidationRow, DiagnosisRow, BreakdownRow>;

void set_time(MetricsRow& row);  // now, in seconds since 1970
int64_t step_of(const MetricsRow& row);
const char* kind_of(const MetricsRow& row);  // "step", "validation", "diagnosis", "breakdown"
// take(name, number) for every number but the step and the time, under the names of the file.
void each_number(const MetricsRow& row, const std::function<void(const std::string&, double)>& take);

std::string to_line(const MetricsRow& row);  // with its \n; a number that is not finite is null
// Nothing when it is no row. Rows without a kind, as earlier builds wrote them, have the kind of their fields.
std::optional<MetricsRow> parse_row(std::string_view line);

struct RowCount {
  int64_t rows = 0, others = 0;  // whole lines that are no rows
  bool cut = false;              // something is behind the last whole line
};
// take(row) for each row of a file, in order, in a few MiB of memory. Lines of more than a MiB are no rows. None where
// there is no file.
RowCount each_row(const std::string& path, const std::function<void(const MetricsRow&)>& take);
// Of a file, in order; what is no row, as a kill may leave one, is left out. None where there is no file.
std::vector<MetricsRow> read_metrics(const std::string& path);

std::string metrics_markdown();  // docs/metrics.md

}  // namespace gta
