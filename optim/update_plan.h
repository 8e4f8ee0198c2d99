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

// float64 rows, of which ranks have one each, that are added up one after the other.
struct Addends {
  const double* data;
  int64_t rows, columns, pitch;
};

inline Addends addends_of(const Tensor& tensor) {
  return {tensor.data<double>(), tensor.rows(), tensor.columns(), tensor.pitch()};
}

GTA_HOST_DEVICE inline double sum_of(const Addends& addends) {
  double sum = 0;
  for (int64_t r = 0; r < addends.rows; ++r)
    for (int64_t c = 0; c < addends.columns; ++c) sum += addends.data[r * addends.pitch + c];
  return sum;
}

// state[kUpdateStates]
GTA_HOST_DEVICE inline void plan_one_update(const UpdateRule& rule, const Addends& losses, const Addends& squares,
                                            double* state) {
  const double loss = sum_of(losses), norm = sqrt(sum_of(squares));
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
