#include "optim/adamw.h"

#include <cmath>

#include "core/profiler.h"
#include "core/sum_of_squares.h"

namespace gta {

UpdateOutcome::UpdateOutcome(const HostCopy& state) {
  const std::vector<double> values = state.values<double>();
  const auto value = [&](UpdateState which) { return values[static_cast<size_t>(which)]; };
  loss = value(UpdateState::Loss);
  gradient_norm = value(UpdateState::GradientNorm);
  updates = static_cast<int64_t>(value(UpdateState::Updates));
  applied = value(UpdateState::Applied) != 0;
}

AdamW::AdamW(ParameterSpace& space, const OptimizerConfig& config) : space_(space), config_(config) {
  for (ParameterKind kind : kParameterKinds) {
    const int i = static_cast<int>(kind);
    exp_avg_[i] =
        Tensor::zeros({space.flat_size(kind)}, state_dtype(space.dtype()), space.device(), Purpose::Optimizer);
    exp_avg_sq_[i] =
        Tensor::zeros({space.flat_size(kind)}, state_dtype(space.dtype()), space.device(), Purpose::Optimizer);
  }
  state_ = Tensor::zeros({kUpdateStates}, DType::F64, space.device(), Purpose::Workspace);
}

Tensor AdamW::sum_of_squares() const {
  ProfilerRange range("gradient_norm");
  const Tensor total = Tensor::empty({1}, DType::F64, space_.device(), Purpose::Workspace);
  GradientMode mode = GradientMode::Overwrite;
  for (ParameterKind kind : kParameterKinds) {
    GTA_DISPATCH(space_.device(), sum_of_squares, space_.gradients(kind), total, mode);
    mode = GradientMode::Accumulate;
  }
  return total;
}

double AdamW::gradient_norm() const { return std::sqrt(sum_of_squares().to_vector<double>()[0]); }

void AdamW::step(double learning_rate, const Tensor& squares, const Tensor& losses) {
  ProfilerRange range("adamw");
  const UpdateRule rule{config_.clip_norm, learning_rate, config_.beta1, config_.beta2, config_.eps};
  GTA_DISPATCH(space_.device(), plan_update, rule, losses, squares, state_);
  for (ParameterKind kind : kParameterKinds) {
    const bool matrices = kind == ParameterKind::Matrix;
    GTA_DISPATCH(space_.device(), adamw_kernel, rule, state_, matrices ? config_.weight_decay : 0.0,
                 space_.values(kind), space_.gradients(kind), exp_avg(kind), exp_avg_sq(kind),
                 matrices ? space_.rounded_matrices() : Tensor{});
  }
}

void AdamW::set_updates(int64_t updates) {
  state_.column_slice(static_cast<int64_t>(UpdateState::Updates), 1)
      .copy_from(Tensor::from<double>({1}, {static_cast<double>(updates)}));
}

}  // namespace gta
