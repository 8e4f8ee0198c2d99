#include "launch/profile_report.h"

#include "core/error.h"
#include "core/log.h"

namespace gta {

void report_profile(const Profiler& profiler, const std::string& trace_file) {
  profiler.write_chrome_trace(trace_file);
  // The row "step" is what no range inside it covers.
  const std::vector<Profiler::Row> rows = profiler.summary("step");
  double total = 0, uncovered = 0, steps = 0;
  for (const auto& row : rows) {
    total += row.self_seconds;
    if (row.name != "step") continue;
    uncovered = row.self_seconds;
    steps = static_cast<double>(row.calls);
  }
  log::info("profile  {:.3f} ms a step, {:.1f}% of it in the ranges below; all ranges are in {}", 1e3 * total / steps,
            100 * (1 - uncovered / total), trace_file);
  log::info("{:<24} {:>7} {:>10} {:>7} {:>9}", "range", "calls", "ms/step", "share", "GFLOP/s");
  for (const auto& row : rows)
    log::info("{:<24} {:>7} {:>10.3f} {:>6.1f}% {:>9.1f}", row.name, row.calls, 1e3 * row.self_seconds / steps,
              100 * row.self_seconds / total, row.flops / row.self_seconds / 1e9);
}

}  // namespace gta
