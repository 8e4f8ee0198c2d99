#include "launch/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/log.h"

namespace gta {
namespace {

// Of the terminal now: it may have been resized since the last step.
int64_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool moves_its_cursor() {
  const char* const kind = std::getenv("TERM");
  return kind && std::string_view(kind) != "dumb";
}

}  // namespace

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

std::string progress_line(const StepReport& r, int64_t columns) {
  struct Part {
    std::string text;
    int rank;  // the highest go first when there is no room
  };
  std::vector<Part> parts = {{fmt::format("step {}/{}", r.row.step, r.steps), 0},
                             {fmt::format("loss {:.3f}", r.row.loss), 1}};
  if (r.mean_loss) parts.push_back({fmt::format("mean {:.3f}", *r.mean_loss), 4});
  if (r.validation_loss) parts.push_back({fmt::format("val {:.3f}", *r.validation_loss), 4});
  parts.push_back({fmt::format("lr {:.1e}", r.row.learning_rate), 6});
  parts.push_back({fmt::format("grad {:.2f}", r.row.gradient_norm), 5});
  parts.push_back({fmt::format("{} tok/s", count_text(r.row.tokens_per_second)), 3});
  parts.push_back({fmt::format("SOL {:.0f}%", 100 * r.row.sol), 8});
  parts.push_back({fmt::format("mem {:.2f} GiB", static_cast<double>(r.row.memory_bytes) / (1 << 30)), 7});
  parts.push_back({"ETA " + duration_text(r.seconds_left), 2});
  while (true) {
    std::string line;
    for (const Part& part : parts) line += (line.empty() ? "" : " | ") + part.text;
    if (static_cast<int64_t>(line.size()) <= columns) return line;
    if (parts.size() == 1) return line.substr(0, static_cast<size_t>(std::max<int64_t>(columns, 0)));
    parts.erase(
        std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.rank < b.rank; }));
  }
}

std::string progress_line(const StepReport& report) { return progress_line(report, INT64_MAX); }

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0 && moves_its_cursor()) {}

void Progress::show(const StepReport& report, int64_t log_every_steps, bool important) {
  const bool due =
      report.row.step == 1 || report.row.step % log_every_steps == 0 || report.row.step == report.steps || important;
  if (terminal_) {
    // In the last column some terminals go to the next line. Spaces cover what an earlier, longer line left.
    const int64_t columns = terminal_columns() - 1;
    const std::string line = progress_line(report, columns);
    const auto length = static_cast<int64_t>(line.size());
    const int64_t rest = std::clamp<int64_t>(std::min(shown_, columns) - length, 0, columns);
    // a terminal that is gone is no reason to end
    std::fputs(fmt::format("\r{}{}", line, std::string(static_cast<size_t>(rest), ' ')).c_str(), stderr);
    std::fflush(stderr);
    shown_ = length;
    return;
  }
  losses_ += report.row.loss;
  ++steps_;
  if (!due) return;
  StepReport line = report;
  if (steps_ > 1) line.mean_loss = losses_ / static_cast<double>(steps_);
  log::info("{}", progress_line(line));
  losses_ = 0;
  steps_ = 0;
}

void Progress::interrupt() {
  if (shown_ == 0) return;
  std::fputs("\n", stderr);
  shown_ = 0;
}

}  // namespace gta
