#include <cfloat>

#include "core/backends/cuda/device_math.h"
#include "core/backends/cuda/vectors.h"
#include "layers/cross_entropy/linear_cross_entropy.h"

namespace gta::cuda {
namespace {

constexpr int kMostThreads = 512;

// The largest of some numbers and the sum of e^(x - largest). It starts from a finite number, so that minus infinity
// minus itself does not occur; fmaxf overlooks a NaN, but the sum keeps it.
struct RunningSum {
  float largest = -FLT_MAX, sum = 0;
  template <int n>
  __device__ __forceinline__ void add(const float (&x)[n]) {
    float most = largest;
#pragma unroll
    for (int i = 0; i < n; ++i) most = fmaxf(most, x[i]);
    sum *= fast_exp(largest - most);
    largest = most;
#pragma unroll
    for (int i = 0; i < n; ++i) sum += fast_exp(x[i] - most);
  }
};

// For one row z of logits (rows, vocab), m = max z and sum = sum over v of e^(z[v] - m):
//   L = m + log sum        losses = [w (L - z[label]) + w z_loss L^2, w (L - z[label])]
//   dz[v] = w (1 + 2 z_loss L) e^(z[v] - m) / sum - (v == label ? w : 0)
// w = label_weight; an ignored label has losses and dz of 0. A block a row, which it reads twice; dz may be the memory
// of z.
template <class T, int n>
__global__ void rows_kernel(Rows<const float> logits, const int32_t* labels, double label_weight, double z_loss,
                            bool gradient, Rows<double> losses, Rows<T> d_logits, int64_t vocab) {
  GTA_SHARED_ARRAY(float, of_warps, [32]);
  const int64_t row = blockIdx.x;
  const int64_t begin = int64_t{threadIdx.x} * n, stride = int64_t{blockDim.x} * n;
  const int32_t label = labels[row];
  if (label == kIgnoredLabel) {
    if (threadIdx.x == 0) *losses.at(row, 0) = *losses.at(row, 1) = 0;
    const float zeros[n] = {};
    for (int64_t v = begin; gradient && v < vocab; v += stride) store_vector(d_logits.at(row, v), zeros);
    return;
  }
  RunningSum mine;
#pragma unroll 4
  for (int64_t v = begin; v < vocab; v += stride) {
    float z[n];
    load_vector(z, logits.at(row, v));
    mine.add(z);
  }
  const float target = *logits.at(row, label);  // before a gradient takes its place, behind the barriers
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  float largest = warp_max(mine.largest);
  if (lane == 0) of_warps[warp] = largest;
  __syncthreads();
  for (int i = 0; i < warps; ++i) largest = fmaxf(largest, of_warps[i]);
  __syncthreads();
  const float part = warp_sum(mine.sum * fast_exp(mine.largest - largest));
  if (lane == 0) of_warps[warp] = part;
  __syncthreads();
  double sum = 0;
  for (int i = 0; i < warps; ++i) sum += static_cast<double>(of_warps[i]);
  const double logsumexp = static_cast<double>(largest) + log(sum);
  if (threadIdx.x == 0) {
    const double cross_entropy = label_weight * (logsumexp - static_cast<double>(target));
    *losses.at(row, 0) = cross_entropy + label_weight * z_loss * logsumexp * logsumexp;
    *losses.at(row, 1) = cross_entropy;
  }
  if (!gradient) return;
  const float scale = static_cast<float>(label_weight * (1 + 2 * z_loss * logsumexp) / sum),
              weight = static_cast<float>(label_weight);
#pragma unroll 4
  for (int64_t v = begin; v < vocab; v += stride) {
    float z[n];
    load_vector(z, logits.at(row, v));
#pragma unroll
    for (int i = 0; i < n; ++i) z[i] = fast_exp(z[i] - largest) * scale - (v + i == label ? weight : 0.0f);
    store_vector(d_logits.at(row, v), z);
  }
}

// totals[c] = sum over rows of losses[row, c]        losses (rows, 2)
// One block of kSumThreads: a thread sums every kSumThreads-th row, then they meet in pairs.
constexpr int kSumThreads = 1024;
__global__ void sum_kernel(Rows<const double> losses, int64_t rows, double* totals) {
  GTA_SHARED_ARRAY(double, sums, [kSumThreads][2]);
  const int thread = threadIdx.x;
  double loss = 0, cross_entropy = 0;
  for (int64_t row = thread; row < rows; row += kSumThreads) {
    loss += *losses.at(row, 0);
    cross_entropy += *losses.at(row, 1);
  }
  sums[thread][0] = loss;
  sums[thread][1] = cross_entropy;
  __syncthreads();
  for (int distance = kSumThreads / 2; distance > 0; distance /= 2) {
    if (thread < distance) {
      sums[thread][0] += sums[thread + distance][0];
      sums[thread][1] += sums[thread + distance][1];
    }
    __syncthreads();
  }
  if (thread < 2) totals[thread] = sums[0][thread];
}

}  // namespace

void sum_losses(const Tensor& losses, const Tensor& totals) {
  GTA_LAUNCH(sum_kernel, dim3(1), dim3(kSumThreads), 0, stream_of(losses.device()), rows_of<const double>(losses),
             losses.rows(), totals.data<double>());
}

void cross_entropy_rows(const Tensor& logits, const Tensor& labels, double label_weight, double z_loss,
                        CrossEntropyMode mode, const Tensor& losses, const Tensor& d_logits) {
  const int64_t rows = logits.rows(), vocab = logits.columns();
  if (rows == 0) return;
  dispatch_device(d_logits.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({vocab}, {&logits, &d_logits}, [&](auto n) {
      const int64_t threads = std::min<int64_t>(kMostThreads, ceil_div(vocab, 32 * n) * 32);
      GTA_LAUNCH((rows_kernel<T, n>), dim3(static_cast<unsigned>(rows)), dim3(static_cast<unsigned>(threads)), 0,
                 stream_of(logits.device()), rows_of<const float>(logits), labels.data<int32_t>(), label_weight, z_loss,
                 mode == CrossEntropyMode::LossAndGradient, rows_of<double>(losses), rows_of<T>(d_logits), vocab);
    });
  });
}

}  // namespace gta::cuda
