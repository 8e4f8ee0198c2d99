#include "launch/commands/ablation_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/measure/peak.h"
#include "launch/budget.h"
#include "launch/plan.h"
#include "launch/progress.h"

namespace gta {
namespace {

// What one cell of an arm takes.
struct CellCost {
  int64_t memory = 0;
  double seconds = 0;
};

CellCost cost_of_cell(const RunConfig& counted, DeviceType device, double flops_per_second) {
  RunConfig run = counted;
  if (run.train.micro_batch_size == kAutoMicroBatch)
    run.train.micro_batch_size =
        fitting_micro_batch(run, device, memory_for_training(memory_report(Device{device}).limit));
  CellCost cost;
  cost.memory = plan_memory(run.model, training_shape(run, device)).total;
  cost.seconds = seconds_of(budget_of(run), {SpeedSource::Assumed, flops_per_second});
  return cost;
}

}  // namespace

void print_plan(const AblationFile& file, const std::vector<Arm>& arms, const AblateCommand& command) {
  const DeviceType type = device_from_name(command.device).type;
  std::map<DType, double> speeds;
  size_t width = 7;
  for (const Arm& arm : arms) width = std::max(width, arm.name.size());
  fmt::print("{:<{}}  {:>12}  {:>12}  {:>14}  {:>12}  {:>8}  {:>10}  {:>9}\n", "variant", width, "parameters",
             "FLOPs/token", "attn. FLOPs/t.", "cache bytes/t.", "steps", "memory MiB", "time");
  double seconds = 0;
  for (const Arm& arm : arms) {
    const DType dtype = arm.config.train.dtype;
    if (!speeds.count(dtype))
      speeds[dtype] =
          measure_peak_flops(dtype, Device{type}) * (type == DeviceType::Cpu ? kAssumedOfCpu : kAssumedOfGpu);
    const Cost& cost = arm.match.cost;
    const CellCost of_cell = cost_of_cell(arm.match.config, type, speeds[dtype]);
    seconds += of_cell.seconds * static_cast<double>(file.seeds.size());
    fmt::print("{:<{}}  {:>12}  {:>12.4g}  {:>14.4g}  {:>12}  {:>8}  {:>10.1f}  {:>9}\n", arm.name, width,
               cost.parameters, cost.flops_per_token_training, cost.attention_flops_per_token,
               cost.cache_bytes_per_token, cost.steps, static_cast<double>(of_cell.memory) / (1 << 20),
               duration_text(of_cell.seconds));
    if (file.equal != Budget::None && !arm.is_baseline && !arm.unmatched)
      fmt::print("{:<{}}  {}{:+.3f}% of the baseline's {}\n", "", width,
                 arm.match.adjustments.empty() ? "" : describe(arm.match.adjustments) + ": ", 100 * arm.match.off,
                 name_of(file.equal));
  }
  const auto jobs = static_cast<double>(std::max<int64_t>(1, command.jobs));
  fmt::print(
      "{} cells ({} seeds): about {} of work{}{}\n", arms.size() * file.seeds.size(), file.seeds.size(),
      duration_text(seconds),
      command.price > 0 ? fmt::format(", {:.2f} at {:.2f} an hour", seconds / 3600 * command.price, command.price) : "",
      jobs > 1 ? fmt::format("; {} side by side", command.jobs) : "");
  if (file.tune)
    fmt::print("before them a search of {} over {} values: {} trials of {} steps, not in these figures\n",
               file.tune->key, file.tune->values.size(),
               file.tune->values.size() * file.tune->seeds.size() * arms.size(),
               file.tune->steps > 0 ? std::to_string(file.tune->steps) : "all");
}

}  // namespace gta
