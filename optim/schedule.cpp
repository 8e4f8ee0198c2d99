#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace gta {

double learning_rate(const OptimizerConfig& config, int64_t step, int64_t run_steps) {
  const ScheduleConfig& schedule = config.schedule;
  const int64_t steps = schedule.steps > 0 ? schedule.steps : run_steps, warmup = schedule.warmup_steps,
                decay = schedule.decay_steps;
  const double ratio = schedule.final_ratio;
  const double peak = config.learning_rate;
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const auto fraction = [](int64_t done, int64_t length) {
    return done >= length ? 1.0 : std::max(0.0, static_cast<double>(done) / static_cast<double>(length));
  };
  const double t = fraction(step - warmup, steps - 1 - warmup);
  switch (schedule.type) {
    case ScheduleType::Cosine:
      return peak * (ratio + (1 - ratio) * (1 + std::cos(std::numbers::pi * t)) / 2);
    case ScheduleType::Linear:
      return peak * (1 - (1 - ratio) * t);
    case ScheduleType::Constant:
      return peak;
    case ScheduleType::Wsd:
      return decay == 0 ? peak : peak * (1 - (1 - ratio) * fraction(step - (steps - decay) + 1, decay));
  }
  return peak;
}

const char* name_of(ScheduleType type) {
  switch (type) {
    case ScheduleType::Cosine:
      return "cosine";
    case ScheduleType::Linear:
      return "linear";
    case ScheduleType::Constant:
      return "constant";
    case ScheduleType::Wsd:
      return "wsd";
  }
  return "?";
}

}  // namespace gta
