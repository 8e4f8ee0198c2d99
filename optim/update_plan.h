// The one formula behind plan_update, for every backend.
#pragma once

#include <cfloat>
#include <cmath>

#include "optim/adamw.h"

#ifdef __CUDACC__
#define GTA_HOST_DEVICE __host__ __device__
#else
#define GTA_HOST_DEVICE
#endif

namespace gta {

// losses[0 .. count), state[kUpdateStates]
GTA_HOST_DEVICE inline void plan_one_update(const UpdateRule& rule, const double* losses, int64_t count, double squares,
                                            double* state) {
  double loss = 0;
  for (int64_t i = 0; i < count; ++i) loss += losses[i];
  const double norm = sqrt(squares);
  const bool applied = fabs(loss) <= DBL_MAX && norm <= DBL_MAX;  // no NaN is
  const double updates = state[static_cast<int>(UpdateState::Updates)] + (applied ? 1 : 0);
  state[static_cast<int>(UpdateState::Updates)] = updates;
  state[static_cast<int>(UpdateState::Applied)] = applied ? 1 : 0;
  state[static_cast<int>(UpdateState::Loss)] = loss;
  state[static_cast<int>(UpdateState::GradientNorm)] = norm;
  state[static_cast<int>(UpdateState::Scale)] = rule.clip_norm > 0 ? fmin(1.0, rule.clip_norm / (norm + 1e-6)) : 1.0;
  state[static_cast<int>(UpdateState::Rate)] = rule.learning_rate / (1 - pow(rule.beta1, updates));
  state[static_cast<int>(UpdateState::Root)] = 1 / sqrt(1 - pow(rule.beta2, updates));
}

}  // namespace gta
