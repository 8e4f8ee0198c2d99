#include "launch/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/log.h"

namespace gta {

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "--:--";
  const auto total = static_cast<int64_t>(std::lround(seconds));
  if (total >= 3600) return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{:02}:{:02}", total / 60, total % 60);
}

std::string count_text(double count) {
  for (const auto& [unit, suffix] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
    if (count >= unit) return fmt::format("{:.1f}{}", count / unit, suffix);
  return fmt::format("{:.0f}", count);
}

std::string progress_line(const StepReport& r) {
  const std::string validation = r.validation_loss ? fmt::format(" | val {:.3f}", *r.validation_loss) : "";
  return fmt::format("step {}/{} | loss {:.3f}{} | lr {:.1e} | grad {:.2f} | {} tok/s | SOL {:.0f}% | mem {:.2f} GiB | ETA {}", r.step, r.steps,
                     r.loss, validation, r.learning_rate, r.gradient_norm, count_text(r.tokens_per_second), 100 * r.sol,
                     static_cast<double>(r.memory_bytes) / (1 << 30), duration_text(r.seconds_left));
}

nlohmann::json metrics_row(const StepReport& r) {
  return {{"step", r.step},
          {"tokens", r.tokens},
          {"loss", r.loss},
          {"learning_rate", r.learning_rate},
          {"grad_norm", r.gradient_norm},
          {"step_seconds", r.step_seconds},
          {"tokens_per_second", r.tokens_per_second},
          {"model_flops_per_second", r.flops_per_second},
          {"sol", r.sol},
          {"memory_bytes", r.memory_bytes},
          {"data_wait_seconds", r.data_wait_seconds}};
}

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::show(const StepReport& report, int64_t log_every_steps, bool important) {
  const bool due = report.step == 1 || report.step % log_every_steps == 0 || report.step == report.steps || important;
  if (terminal_) {
    std::fputs(("\r\033[K" + progress_line(report)).c_str(), stderr);  // a terminal that is gone is no reason to end
    std::fflush(stderr);
    open_ = true;
  } else if (due) {
    log::info("{}", progress_line(report));
  }
}

void Progress::interrupt() {
  if (!open_) return;
  std::fputs("\n", stderr);
  open_ = false;
}

}  // namespace gta
