// AdamW over the flat parameter space (Loshchilov and Hutter, arXiv 1711.05101), and the clipping before it.
//
//   g = gradient * min(1, clip_norm / (norm + 1e-6))
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   w = w (1 - lr weight_decay)        (matrices only)
//   w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)        t = number of updates so far, from 1
#pragma once

#include "core/parameter_space.h"
#include "optim/optimizer_config.h"

namespace gta {

struct AdamWStep {
  double gradient_scale, learning_rate, beta1, beta2, eps, weight_decay;
  double correction1, correction2;  // 1 - beta^t
};
// rounded: bfloat16, receives the new weights for the products; or undefined.
GTA_KERNEL(void adamw_kernel(const AdamWStep& step, const Tensor& weights, const Tensor& gradients, const Tensor& exp_avg, const Tensor& exp_avg_sq,
                             const Tensor& rounded))
// Sum of squares in float64, in fixed blocks: the same bits for any number of threads. NaN or infinite when an element is.
GTA_KERNEL(double sum_of_squares(const Tensor& flat))

class AdamW {
 public:
  AdamW(ParameterSpace& space, const OptimizerConfig& config);

  // Global L2 norm of the gradients; not finite when any of them is not.
  double gradient_norm() const;
  // One update from the gradients whose norm is given.
  void step(double learning_rate, double gradient_norm);

  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }
  const Tensor& exp_avg(ParameterKind kind) const { return exp_avg_[static_cast<int>(kind)]; }
  const Tensor& exp_avg_sq(ParameterKind kind) const { return exp_avg_sq_[static_cast<int>(kind)]; }

 private:
  ParameterSpace& space_;
  OptimizerConfig config_;
  std::array<Tensor, 2> exp_avg_, exp_avg_sq_;
  int64_t updates_ = 0;
};

}  // namespace gta
