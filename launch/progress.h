// What is said of a step: the one live line on a terminal, or one plain line per log_every_steps without one (or on a
// dumb one), on stderr; and a row of numbers.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace gta {

struct StepReport {
  int64_t step = 0, steps = 0, tokens = 0;
  double loss = 0, learning_rate = 0, gradient_norm = 0;
  double step_seconds = 0, tokens_per_second = 0, flops_per_second = 0, sol = 0, data_wait_seconds = 0;
  int64_t memory_bytes = 0;
  std::optional<double> validation_loss;
  double seconds_left = 0;
};

std::string progress_line(const StepReport& report);
// The same in at most `columns`: what is least missed goes first, and what is still too long is cut.
std::string progress_line(const StepReport& report, int64_t columns);
nlohmann::json metrics_row(const StepReport& report);  // of metrics.jsonl
std::string duration_text(double seconds);             // "01:12", "2:03:04"
std::string count_text(double count);                  // "950", "5.1k", "2.9M"

class Progress {
 public:
  Progress();
  // Shows the line when it is due; `important` shows it in any case.
  void show(const StepReport& report, int64_t log_every_steps, bool important);
  // Ends a live line, so that other text starts on its own.
  void interrupt();

 private:
  bool terminal_;
  int64_t shown_ = 0;  // columns of the live line; 0: there is none
};

}  // namespace gta
