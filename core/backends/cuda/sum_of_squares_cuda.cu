// Two stages, both cut by size alone, so the bits do not depend on the device: sums of kPiece elements each, then the
// sum of those.
#include "core/sum_of_squares.h"

#include <algorithm>

#include "core/backends/cuda/vectors.h"

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
template <class T, int n>
__global__ void square_pieces(const T* x, int64_t count, double* partial) {
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

}  // namespace

void sum_of_squares(const Tensor& flat, const Tensor& total, GradientMode mode) {
  ensure(flat.contiguous(), "sum_of_squares", "expected adjacent elements, got {}", describe(flat));
  const int64_t count = flat.elements(), pieces = ceil_div(count, kPiece);
  const Tensor partial = Tensor::empty({std::max<int64_t>(pieces, 1)}, DType::F64, flat.device(), Purpose::Workspace);
  const cudaStream_t stream = stream_of(flat.device());
  if (pieces > 0)
    dispatch_device(flat.dtype(), "sum_of_squares", [&](auto zero) {
      using T = decltype(zero);
      with_vectors<kVector<T>>({count}, {&flat}, [&](auto n) {
        GTA_LAUNCH((square_pieces<T, n>), dim3(static_cast<unsigned>(pieces)), dim3(kThreads), 0, stream,
                   device_data<T>(flat), count, partial.data<double>());
      });
    });
  GTA_LAUNCH(sum_pieces, dim3(1), dim3(kThreads), 0, stream, partial.data<double>(), pieces, total.data<double>(),
             mode);
}

}  // namespace gta::cuda
