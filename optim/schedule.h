// The learning rate of each step of a schedule, 0 to steps - 1. The first after warm-up has the peak; the last has
// final_ratio times the peak, unless the schedule is constant or nothing but warm-up. Steps after it have what the last
// one has.
//
//   warm-up (step < warmup_steps):  peak (step + 1) / warmup_steps
//   then, with t = (step - warmup_steps) / (steps - 1 - warmup_steps), 1 where that is 0 / 0, and r = final_ratio:
//     cosine    peak (r + (1 - r) (1 + cos(pi t)) / 2)
//     linear    peak (1 - (1 - r) t)
//     constant  peak
//     wsd       peak, but in the last decay_steps peak (1 - (1 - r) d),
//               d = (step - (steps - decay_steps) + 1) / decay_steps
#pragma once

#include "optim/optimizer_config.h"

namespace gta {

// The version of this rule, for runs that go on after it has changed. Version 1 reached t = d = 1 one step too late.
inline constexpr int64_t kScheduleVersion = 2;

// run_steps: of the run, which are the schedule's too unless it has a length of its own.
double learning_rate(const OptimizerConfig& config, int64_t step, int64_t run_steps);

const char* name_of(ScheduleType type);

}  // namespace gta
