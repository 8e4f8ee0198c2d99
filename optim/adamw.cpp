#include "optim/adamw.h"

#include <cmath>

#include "core/profiler.h"

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
  const std::vector<FlatRange>& updated = space.masters().ranges();
  exp_avg_ = FlatBuffer(updated, state_dtype(space.dtype()), space.device(), Purpose::Optimizer);
  exp_avg_sq_ = FlatBuffer(updated, state_dtype(space.dtype()), space.device(), Purpose::Optimizer);
  state_ = Tensor::zeros({kUpdateStates}, DType::F64, space.device(), Purpose::Workspace);
}

Tensor AdamW::sum_of_squares() const {
  ProfilerRange range("gradient_norm");
  return space_.sum_of_squares(space_.gradients());
}

double AdamW::gradient_norm() const { return std::sqrt(sum_of_squares().to_vector<double>()[0]); }

void AdamW::step(double learning_rate, const Tensor& squares, const Tensor& losses) {
  ProfilerRange range("adamw");
  const UpdateRule rule = begin_step(learning_rate, squares, losses);
  for (const FlatRange& updated : space_.masters().ranges()) update(rule, updated);
}

UpdateRule AdamW::begin_step(double learning_rate, const Tensor& squares, const Tensor& losses) {
  const UpdateRule rule{config_.clip_norm, learning_rate, config_.beta1, config_.beta2, config_.eps};
  GTA_DISPATCH(space_.device(), plan_update, rule, losses, squares, state_);
  return rule;
}

void AdamW::update(const UpdateRule& rule, const FlatRange& updated) {
  const double weight_decay = updated.kind == ParameterKind::Matrix ? config_.weight_decay : 0.0;
  GTA_DISPATCH(space_.device(), adamw_kernel, rule, state_, weight_decay, space_.masters().slice(updated),
               space_.gradients().slice(updated), exp_avg_.slice(updated), exp_avg_sq_.slice(updated),
               space_.rounded(updated));
}

void AdamW::set_updates(int64_t updates) {
  state_.column_slice(static_cast<int64_t>(UpdateState::Updates), 1)
      .copy_from(Tensor::from<double>({1}, {static_cast<double>(updates)}));
}

}  // namespace gta
