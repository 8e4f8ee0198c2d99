#include <algorithm>

#include "core/backends/cuda/vectors.h"
#include "optim/update_plan.h"

namespace gta::cuda {
namespace {

// One thread.
__global__ void plan(UpdateRule rule, Addends losses, Addends squares, double* state) {
  plan_one_update(rule, losses, squares, state);
}

// What of one update the host knows.
struct Factors {
  float beta1, beta2, rest1, rest2, eps, keep;
};

// g = gradient scale    m = beta1 m + rest1 g    v = beta2 v + rest2 g^2    w = w keep - rate m / (sqrt(v) root + eps)
// rounded: bfloat16 of the new w, or nullptr
template <int n>
__global__ void update(Factors f, const double* state, float* weights, const float* gradients, float* exp_avg,
                       float* exp_avg_sq, __nv_bfloat16* rounded, int64_t count) {
  if (state[static_cast<int>(UpdateState::Applied)] == 0) return;
  const float scale = static_cast<float>(state[static_cast<int>(UpdateState::Scale)]);
  const float rate = static_cast<float>(state[static_cast<int>(UpdateState::Rate)]),
              root = static_cast<float>(state[static_cast<int>(UpdateState::Root)]);
  for_items(1, count / n, [&](int64_t, int64_t item) {
    const int64_t at = item * n;
    float w[n], g[n], m[n], v[n];
    load_vector(w, weights + at);
    load_vector(g, gradients + at);
    load_vector(m, exp_avg + at);
    load_vector(v, exp_avg_sq + at);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const float gradient = g[i] * scale;
      m[i] = f.beta1 * m[i] + f.rest1 * gradient;
      v[i] = f.beta2 * v[i] + f.rest2 * gradient * gradient;
      w[i] = w[i] * f.keep - rate * m[i] / (sqrtf(v[i]) * root + f.eps);
    }
    store_vector(weights + at, w);
    store_vector(exp_avg + at, m);
    store_vector(exp_avg_sq + at, v);
    if (rounded) store_vector(rounded + at, w);
  });
}

}  // namespace

void plan_update(const UpdateRule& rule, const Tensor& losses, const Tensor& squares, const Tensor& state) {
  GTA_LAUNCH(plan, dim3(1), dim3(1), 0, stream_of(state.device()), rule, addends_of(losses), addends_of(squares),
             state.data<double>());
}

void adamw_kernel(const UpdateRule& rule, const Tensor& state, double weight_decay, const Tensor& weights,
                  const Tensor& gradients, const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& rounded) {
  const int64_t count = weights.elements();
  const Factors factors{static_cast<float>(rule.beta1),     static_cast<float>(rule.beta2),
                        static_cast<float>(1 - rule.beta1), static_cast<float>(1 - rule.beta2),
                        static_cast<float>(rule.eps),       static_cast<float>(1 - rule.learning_rate * weight_decay)};
  with_vectors<4>({count}, {&weights, &gradients, &exp_avg, &exp_avg_sq, &rounded}, [&](auto n) {
    const Threads threads = threads_of(1, count / n);
    GTA_LAUNCH(update<n>, threads.grid, threads.block, 0, stream_of(weights.device()), factors, state.data<double>(),
               weights.data<float>(), gradients.data<float>(), exp_avg.data<float>(), exp_avg_sq.data<float>(),
               rounded.defined() ? device_data<__nv_bfloat16>(rounded) : nullptr, count);
  });
}

}  // namespace gta::cuda
