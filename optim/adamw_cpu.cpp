#include <cmath>

#include "core/parallel.h"
#include "optim/update_plan.h"

namespace gta::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;

}  // namespace

void plan_update(const UpdateRule& rule, const Tensor& losses, const Tensor& squares, const Tensor& state) {
  plan_one_update(rule, addends_of(losses), addends_of(squares), state.data<double>());
}

void adamw_kernel(const UpdateRule& rule, const Tensor& state, double weight_decay, const Tensor& weights,
                  const Tensor& gradients, const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& rounded) {
  const auto planned = [&](UpdateState which) { return state.data<double>()[static_cast<int>(which)]; };
  if (planned(UpdateState::Applied) == 0) return;
  dispatch_state(weights.dtype(), "adamw", [&](auto zero) {
    using T = decltype(zero);
    T* const w = weights.data<T>();
    const T* const g = gradients.data<T>();
    T* const m = exp_avg.data<T>();
    T* const v = exp_avg_sq.data<T>();
    const T scale = static_cast<T>(planned(UpdateState::Scale)), beta1 = static_cast<T>(rule.beta1),
            beta2 = static_cast<T>(rule.beta2);
    const T rest1 = static_cast<T>(1 - rule.beta1), rest2 = static_cast<T>(1 - rule.beta2),
            eps = static_cast<T>(rule.eps);
    const T keep = static_cast<T>(1 - rule.learning_rate * weight_decay);
    const T rate = static_cast<T>(planned(UpdateState::Rate)), root = static_cast<T>(planned(UpdateState::Root));
    bfloat16* const r = rounded.defined() ? rounded.data<bfloat16>() : nullptr;
    parallel_ranges(weights.elements(), kGrain, [&](int64_t first, int64_t last) {
#pragma omp simd
      for (int64_t i = first; i < last; ++i) {
        const T gradient = g[i] * scale;
        m[i] = beta1 * m[i] + rest1 * gradient;
        v[i] = beta2 * v[i] + rest2 * gradient * gradient;
        w[i] = w[i] * keep - rate * m[i] / (std::sqrt(v[i]) * root + eps);
      }
      if (r) {
#pragma omp simd
        for (int64_t i = first; i < last; ++i) store(r[i], w[i]);
      }
    });
  });
}

}  // namespace gta::cpu
