// Sums over the rows of a matrix, such as the gradients of norms and biases: out[c] (+)= sum over r of term(r, c).
//
// Two stages, both cut by size alone, so the bits do not depend on the device: partial sums of kRowsOfPart rows each,
// then the sum of those.
#pragma once

#include "core/backends/cuda/vectors.h"
#include "core/gemm.h"

namespace gta::cuda {

namespace column_sums_detail {

constexpr int kRowsOfPart = 128;
constexpr int kWarps = 8;

// sums (kWarps, width): the sum over the warps, in their order, of one column. Called after a barrier.
__device__ __forceinline__ float sum_of_warps(const float* sums, int width, int column) {
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) total += sums[warp * width + column];
  return total;
}

// partial (parts, columns). A block sums 32 n columns over one part; each of its warps takes every kWarps-th row.
template <class Term, int n>
__global__ void sum_parts(Term term, float* partial, int64_t rows, int64_t columns) {
  GTA_SHARED_ARRAY(float, sums, [kWarps * 32 * n]);
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t part = blockIdx.x, first_column = int64_t{blockIdx.y} * 32 * n, column = first_column + lane * n;
  float sum[n] = {};
  if (column < columns) {
    const int64_t last = min(rows, (part + 1) * kRowsOfPart);
#pragma unroll 4
    for (int64_t row = part * kRowsOfPart + warp; row < last; row += kWarps) term.template add<n>(row, column, sum);
  }
#pragma unroll
  for (int i = 0; i < n; ++i) sums[(warp * 32 + lane) * n + i] = sum[i];
  __syncthreads();
  const int i = warp * 32 + lane;  // of the block's 32 n columns, which are at most its threads
  if (i < 32 * n && first_column + i < columns)
    partial[part * columns + first_column + i] = sum_of_warps(sums, 32 * n, i);
}

// out[c] (+)= sum over the parts of partial (parts, columns)
static __global__ void sum_of_parts(const float* partial, int64_t parts, int64_t columns, float* out, bool accumulate) {
  GTA_SHARED_ARRAY(float, sums, [kWarps * 32]);
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t column = int64_t{blockIdx.x} * 32 + lane;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t part = warp; part < parts; part += kWarps) sum += partial[part * columns + column];
  }
  sums[warp * 32 + lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= columns) return;
  const float total = sum_of_warps(sums, 32, lane);
  out[column] = accumulate ? out[column] + total : total;
}

}  // namespace column_sums_detail

// out[c] (+)= the sum of the rows of partial (parts, columns), in an order that depends on their number alone.
inline void add_parts(const Tensor& partial, const Tensor& out, GradientMode mode) {
  using namespace column_sums_detail;
  GTA_LAUNCH(sum_of_parts, dim3(static_cast<unsigned>(ceil_div(out.elements(), 32))), dim3(32, kWarps), 0,
             stream_of(out.device()), partial.data<float>(), partial.rows(), out.elements(), out.data<float>(),
             mode == GradientMode::Accumulate);
}

// term.add<n>(row, column, sum) adds the n elements at (row, column) to sum. out: float32, a vector.
template <int n, class Term>
void column_sums(const Term& term, int64_t rows, const Tensor& out, GradientMode mode) {
  using namespace column_sums_detail;
  const int64_t columns = out.elements(), parts = ceil_div(rows, kRowsOfPart);
  if (columns == 0) return;
  const cudaStream_t stream = stream_of(out.device());
  const Tensor partial = Tensor::empty({parts, columns}, DType::F32, out.device(), Purpose::Workspace);
  const dim3 block(32, kWarps);
  if (parts > 0)
    GTA_LAUNCH((sum_parts<Term, n>),
               dim3(static_cast<unsigned>(parts), static_cast<unsigned>(ceil_div(columns, 32 * n))), block, 0, stream,
               term, partial.data<float>(), rows, columns);
  add_parts(partial, out, mode);
}

}  // namespace gta::cuda
