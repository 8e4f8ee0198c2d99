#include <algorithm>

#include "core/backends/cuda/vectors.h"
#include "optim/update_plan.h"

namespace gta::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPiece = 1 << 16;  // elements of one partial sum

// One for a block of kThreads, in a fixed order; thread 0 gets it.
__device__ __forceinline__ double sum_of_block(double x, double* sums) {
  const int thread = threadIdx.x;
  sums[thread] = x;
  __syncthreads();
  for (int distance = kThreads / 2; distance > 0; distance /= 2) {
    if (thread < distance) sums[thread] += sums[thread + distance];
    __syncthreads();
  }
  return sums[0];
}

// partial[block] = sum of x^2 over the block's piece
template <int n>
__global__ void square_pieces(const float* x, int64_t count, double* partial) {
  GTA_SHARED_ARRAY(double, sums, [kThreads]);
  const int64_t begin = int64_t{blockIdx.x} * kPiece, end = min(count, begin + kPiece);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x * n; i < end; i += kThreads * n) {
    float values[n];
    load_vector(values, x + i);
#pragma unroll
    for (int k = 0; k < n; ++k) sum += static_cast<double>(values[k]) * static_cast<double>(values[k]);
  }
  sum = sum_of_block(sum, sums);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// total = or += sum of the partial ones. One block.
__global__ void sum_pieces(const double* partial, int64_t pieces, double* total, GradientMode mode) {
  GTA_SHARED_ARRAY(double, sums, [kThreads]);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) sum += partial[i];
  sum = sum_of_block(sum, sums);
  if (threadIdx.x == 0) *total = mode == GradientMode::Accumulate ? *total + sum : sum;
}

// One thread.
__global__ void plan(UpdateRule rule, const double* losses, int64_t count, const double* squares, double* state) {
  plan_one_update(rule, losses, count, *squares, state);
}

// What of one update the host knows.
struct Factors {
  float beta1, beta2, rest1, rest2, eps, keep;
};

// g = gradient scale        m = beta1 m + rest1 g        v = beta2 v + rest2 g^2        w = w keep - rate m / (sqrt(v) root + eps)
// rounded: bfloat16 of the new w, or nullptr
template <int n>
__global__ void update(Factors f, const double* state, float* weights, const float* gradients, float* exp_avg, float* exp_avg_sq, __nv_bfloat16* rounded, int64_t count) {
  if (state[static_cast<int>(UpdateState::Applied)] == 0) return;
  const float scale = static_cast<float>(state[static_cast<int>(UpdateState::Scale)]);
  const float rate = static_cast<float>(state[static_cast<int>(UpdateState::Rate)]), root = static_cast<float>(state[static_cast<int>(UpdateState::Root)]);
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

void sum_of_squares(const Tensor& flat, const Tensor& total, GradientMode mode) {
  const int64_t count = flat.elements(), pieces = ceil_div(count, kPiece);
  const Tensor partial = Tensor::empty({std::max<int64_t>(pieces, 1)}, DType::F64, flat.device(), Purpose::Workspace);
  const cudaStream_t stream = stream_of(flat.device());
  if (pieces > 0)
    with_vectors<4>({count}, {&flat}, [&](auto n) {
      GTA_LAUNCH(square_pieces<n>, dim3(static_cast<unsigned>(pieces)), dim3(kThreads), 0, stream, flat.data<float>(), count, partial.data<double>());
    });
  GTA_LAUNCH(sum_pieces, dim3(1), dim3(kThreads), 0, stream, partial.data<double>(), pieces, total.data<double>(), mode);
}

void plan_update(const UpdateRule& rule, const Tensor& losses, const Tensor& squares, const Tensor& state) {
  GTA_LAUNCH(plan, dim3(1), dim3(1), 0, stream_of(state.device()), rule, losses.data<double>(), losses.elements(), squares.data<double>(),
             state.data<double>());
}

void adamw_kernel(const UpdateRule& rule, const Tensor& state, double weight_decay, const Tensor& weights, const Tensor& gradients,
                  const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& rounded) {
  const int64_t count = weights.elements();
  const Factors factors{static_cast<float>(rule.beta1),     static_cast<float>(rule.beta2), static_cast<float>(1 - rule.beta1),
                        static_cast<float>(1 - rule.beta2), static_cast<float>(rule.eps),   static_cast<float>(1 - rule.learning_rate * weight_decay)};
  with_vectors<4>({count}, {&weights, &gradients, &exp_avg, &exp_avg_sq, &rounded}, [&](auto n) {
    const Threads threads = threads_of(1, count / n);
    GTA_LAUNCH(update<n>, threads.grid, threads.block, 0, stream_of(weights.device()), factors, state.data<double>(), weights.data<float>(), gradients.data<float>(),
               exp_avg.data<float>(), exp_avg_sq.data<float>(), rounded.defined() ? device_data<__nv_bfloat16>(rounded) : nullptr, count);
  });
}

}  // namespace gta::cuda
