// What is said of a step: the one live line on a terminal, or one plain line per log_every_steps without one (or on a
// dumb one), on stderr.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launch/metrics.h"

namespace gta {

struct StepReport {
  StepRow row;
  int64_t steps = 0;  // of the run
  std::optional<double> validation_loss;
  std::optional<double> mean_loss;  // of the steps since the last line, where they are several
  double seconds_left = 0;
};

std::string progress_line(const StepReport& report);
// The same in at most `columns`: what is least missed goes first, and what is still too long is cut.
std::string progress_line(const StepReport& report, int64_t columns);
std::string duration_text(double seconds);  // "01:12", "2:03:04"
std::string count_text(double count);       // "950", "5.1k", "2.9M"

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
  double losses_ = 0;  // since the last plain line
  int64_t steps_ = 0;
};

}  // namespace gta
