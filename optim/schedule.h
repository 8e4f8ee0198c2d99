// The learning rate of each step.
//
//   warm-up (step < warmup_steps):  peak (step + 1) / warmup_steps
//   then, with t = (step - warmup_steps) / (steps - warmup_steps) and r = final_ratio:
//     cosine    peak (r + (1 - r) (1 + cos(pi t)) / 2)
//     linear    peak (1 - (1 - r) t)
//     constant  peak
//     wsd       peak until steps - decay_steps, then peak (1 - (1 - r) d),  d = (step - (steps - decay_steps)) / decay_steps
#pragma once

#include "optim/optimizer_config.h"

namespace gta {

// step counts from 0; steps is the run's length.
double learning_rate(const OptimizerConfig& config, int64_t step, int64_t steps);

const char* name_of(ScheduleType type);

}  // namespace gta
