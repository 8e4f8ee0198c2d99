#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "core/profiler.h"

namespace gta {

AdamW::AdamW(ParameterSpace& space, const OptimizerConfig& config) : space_(space), config_(config) {
  for (ParameterKind kind : kParameterKinds) {
    const int i = static_cast<int>(kind);
    exp_avg_[i] = Tensor::zeros({space.flat_size(kind)}, state_dtype(space.dtype()), space.device(), Purpose::Optimizer);
    exp_avg_sq_[i] = Tensor::zeros({space.flat_size(kind)}, state_dtype(space.dtype()), space.device(), Purpose::Optimizer);
  }
}

double AdamW::gradient_norm() const {
  ProfilerRange range("gradient_norm");
  double total = 0;
  for (ParameterKind kind : kParameterKinds) total += GTA_DISPATCH(space_.device(), sum_of_squares, space_.gradients(kind));
  return std::sqrt(total);
}

void AdamW::step(double learning_rate, double gradient_norm) {
  ProfilerRange range("adamw");
  ++updates_;
  const double scale = config_.clip_norm > 0 ? std::min(1.0, config_.clip_norm / (gradient_norm + 1e-6)) : 1.0;
  for (ParameterKind kind : kParameterKinds) {
    const AdamWStep step{scale,
                         learning_rate,
                         config_.beta1,
                         config_.beta2,
                         config_.eps,
                         kind == ParameterKind::Matrix ? config_.weight_decay : 0.0,
                         1 - std::pow(config_.beta1, static_cast<double>(updates_)),
                         1 - std::pow(config_.beta2, static_cast<double>(updates_))};
    GTA_DISPATCH(space_.device(), adamw_kernel, step, space_.values(kind), space_.gradients(kind), exp_avg(kind), exp_avg_sq(kind),
                 kind == ParameterKind::Matrix ? space_.rounded_matrices() : Tensor{});
  }
}

}  // namespace gta
