#include "core/backends/cuda/first_outside.h"
#include "core/backends/cuda/launch.h"

namespace gta::cuda {
namespace {

constexpr int kThreads = 1024;

// found = the smallest i < count with values[i] != allowed and not 0 <= values[i] < limit; count when there is none. One block: a batch's
// tokens are few.
__global__ void find_outside(const int32_t* values, int64_t count, int64_t limit, int32_t allowed, int64_t* found) {
  GTA_SHARED_ARRAY(int64_t, first, [kThreads]);
  const int thread = threadIdx.x;
  int64_t mine = count;
  for (int64_t i = thread; i < count && mine == count; i += kThreads)
    if (values[i] != allowed && (values[i] < 0 || values[i] >= limit)) mine = i;
  first[thread] = mine;
  __syncthreads();
  for (int distance = kThreads / 2; distance > 0; distance /= 2) {
    if (thread < distance) first[thread] = min(first[thread], first[thread + distance]);
    __syncthreads();
  }
  if (thread == 0) *found = first[0];
}

}  // namespace

std::optional<int64_t> first_outside(const Tensor& values, int64_t limit, int32_t allowed) {
  const Tensor result = Tensor::empty({1}, DType::U64, values.device(), Purpose::Workspace);
  const cudaStream_t stream = stream_of(values.device());
  GTA_LAUNCH(find_outside, dim3(1), dim3(kThreads), 0, stream, values.data<int32_t>(), values.elements(), limit, allowed,
             static_cast<int64_t*>(result.raw_data()));
  int64_t found = 0;
  GTA_CUDA_CHECK(cudaMemcpyAsync(&found, result.raw_data(), sizeof found, cudaMemcpyDeviceToHost, stream));
  GTA_CUDA_CHECK(cudaStreamSynchronize(stream));
  return found < values.elements() ? std::optional(found) : std::nullopt;
}

}  // namespace gta::cuda
