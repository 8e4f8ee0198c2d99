// What `optimizer:` says.
#pragma once

#include <cstdint>

namespace gta {

enum class ScheduleType { Cosine, Linear, Constant, Wsd };

// learning_rate(step) for step = 0 .. steps-1; the formulas are in optim/schedule.h.
struct ScheduleConfig {
  ScheduleType type = ScheduleType::Cosine;
  int64_t steps = 0;  // 0: the run's
  int64_t warmup_steps = 0;
  double warmup_fraction = 0;  // of the steps; resolved: warmup_steps = ceil(warmup_fraction * steps)
  int64_t decay_steps = 0;     // wsd: length of the final decay
  double final_ratio = 0.1;    // the last learning rate over the largest
};

struct OptimizerConfig {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;  // matrices only
  double clip_norm = 1.0;     // 0: no clipping
  ScheduleConfig schedule;
};

}  // namespace gta
