// AdamW over the flat parameter space (Loshchilov and Hutter, arXiv 1711.05101), and the clipping before it.
//
//   norm = sqrt(sum of all gradients^2)
//   g = gradient * min(1, clip_norm / (norm + 1e-6))
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   w = w (1 - lr weight_decay)        (matrices only)
//   w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)        t = number of updates so far, from 1
//
// Where the loss or the norm is not finite nothing changes, t neither. That is decided where the gradients are: a step
// is queued whole, and the host learns later what became of it.
#pragma once

#include "core/gemm.h"
#include "core/host_copy.h"
#include "core/parameter_space.h"
#include "optim/optimizer_config.h"

namespace gta {

// What the host knows of an update.
struct UpdateRule {
  double clip_norm, learning_rate, beta1, beta2, eps;
};

// What only the device knows, float64 (7): scale of the gradients, lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t).
enum class UpdateState : uint8_t { Updates, Applied, Loss, GradientNorm, Scale, Rate, Root };
inline constexpr int64_t kUpdateStates = 7;

// losses and squares, float64 of any shape: parts of one sum each, that are added row after row. Counts the update and
// writes all of the state.
GTA_KERNEL(void plan_update(const UpdateRule& rule, const Tensor& losses, const Tensor& squares, const Tensor& state))
// rounded: bfloat16, receives the new weights for the products; or undefined. Does nothing when the state is not
// Applied.
GTA_KERNEL(void adamw_kernel(const UpdateRule& rule, const Tensor& state, double weight_decay, const Tensor& weights,
                             const Tensor& gradients, const Tensor& exp_avg, const Tensor& exp_avg_sq,
                             const Tensor& rounded))

struct UpdateOutcome {
  double loss, gradient_norm;
  int64_t updates;  // made so far
  bool applied;     // false: loss or norm is not finite
  explicit UpdateOutcome(const HostCopy& state);
};

class AdamW {
 public:
  AdamW(ParameterSpace& space, const OptimizerConfig& config);

  // Sum of the squares of the gradients that this rank owns, float64 (1) on the space's device; not finite when any of
  // them is not.
  Tensor sum_of_squares() const;
  double gradient_norm() const;  // of one rank alone: its root; waits for it
  // Queues one update of the ranges that this rank updates. squares and losses, float64 on the device: parts whose sums
  // are that of the squares of all ranks' gradients and the step's loss; a row for each rank, where there are several.
  void step(double learning_rate, const Tensor& squares, const Tensor& losses);
  // The same in parts, for who looks at them one by one: begin_step(), then each element of the masters' ranges once.
  UpdateRule begin_step(double learning_rate, const Tensor& squares, const Tensor& losses);
  void update(const UpdateRule& rule, const FlatRange& updated);
  // Of the last step; UpdateOutcome(outcome()) waits for it.
  HostCopy outcome() const { return HostCopy(state_); }

  int64_t updates() const { return UpdateOutcome(outcome()).updates; }
  void set_updates(int64_t updates);
  // Of the ranges that this rank updates.
  const FlatBuffer& exp_avg() const { return exp_avg_; }
  const FlatBuffer& exp_avg_sq() const { return exp_avg_sq_; }

 private:
  ParameterSpace& space_;
  OptimizerConfig config_;
  FlatBuffer exp_avg_, exp_avg_sq_;
  Tensor state_;
};

}  // namespace gta
