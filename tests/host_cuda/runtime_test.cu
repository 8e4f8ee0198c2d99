// The runtime's own behaviour: copies of rows, events, refused launches, memory that ends, and several of the host's
// threads at once.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "core/backends/cuda/launch.h"

namespace gta::cuda {
namespace {

class Stream {
 public:
  Stream() { GTA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

__global__ void add(float* x, float amount, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) x[i] += amount;
}

TEST(HostCudaRuntime, CopiesAndFillsRows) {
  const Stream stream;
  void* data = nullptr;
  GTA_CUDA_CHECK(cudaMallocAsync(&data, 4 * 16, stream));
  GTA_CUDA_CHECK(cudaMemsetAsync(data, 1, 4 * 16, stream));
  GTA_CUDA_CHECK(cudaMemset2DAsync(static_cast<char*>(data) + 2, 16, 2, 3, 4, stream));
  const char rows[8] = "abcdefg";
  GTA_CUDA_CHECK(cudaMemcpy2DAsync(static_cast<char*>(data) + 8, 16, rows, 2, 2, 4, cudaMemcpyHostToDevice, stream));
  char got[4 * 12] = {};
  GTA_CUDA_CHECK(cudaMemcpy2DAsync(got, 12, data, 16, 12, 4, cudaMemcpyDeviceToHost, stream));
  GTA_CUDA_CHECK(cudaFreeAsync(data, stream));
  GTA_CUDA_CHECK(cudaStreamSynchronize(stream));
  for (int r = 0; r < 4; ++r) {
    char expected[12] = {1, 1, 2, 2, 2, 1, 1, 1, rows[2 * r], rows[2 * r + 1], 1, 1};
    EXPECT_EQ(std::memcmp(got + 12 * r, expected, 12), 0) << "row " << r;
  }
  EXPECT_EQ(cudaMemcpy2DAsync(got, 2, got, 12, 12, 4, cudaMemcpyHostToHost, stream), cudaErrorInvalidPitchValue);
}

TEST(HostCudaRuntime, WhoAsksOftenEnoughHearsThatAnEventIsReached) {
  const Stream stream;
  cudaEvent_t begin, end;
  GTA_CUDA_CHECK(cudaEventCreate(&begin));
  GTA_CUDA_CHECK(cudaEventCreate(&end));
  void* data = nullptr;
  GTA_CUDA_CHECK(cudaMalloc(&data, 64 * sizeof(float)));
  GTA_CUDA_CHECK(cudaEventRecord(begin, stream));
  GTA_CUDA_CHECK(cudaMemsetAsync(data, 0, 64 * sizeof(float), stream));
  GTA_LAUNCH(add, dim3(2), dim3(32), 0, stream, static_cast<float*>(data), 1.0f, 64);
  GTA_CUDA_CHECK(cudaEventRecord(end, stream));
  cudaError_t status = cudaEventQuery(end);
  for (int i = 0; i < 1000 && status == cudaErrorNotReady; ++i) status = cudaEventQuery(end);
  EXPECT_EQ(status, cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  float milliseconds = -1;
  GTA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
  EXPECT_GE(milliseconds, 0);
  GTA_CUDA_CHECK(cudaEventDestroy(begin));
  GTA_CUDA_CHECK(cudaEventDestroy(end));
  GTA_CUDA_CHECK(cudaFree(data));
}

TEST(HostCudaRuntime, RefusesWhatNoDeviceTakes) {
  const Stream stream;
  const auto launch = [&](dim3 grid, dim3 block) {
    return host_cuda::launch("add", add, grid, block, 0, stream, nullptr, 0.0f, 0);
  };
  EXPECT_EQ(launch(dim3(1), dim3(1025)), cudaErrorInvalidValue);
  EXPECT_EQ(launch(dim3(0), dim3(32)), cudaErrorInvalidValue);
  EXPECT_EQ(launch(dim3(1, 65536), dim3(32)), cudaErrorInvalidValue);
  EXPECT_EQ(launch(dim3(1), dim3(1, 1, 65)), cudaErrorInvalidValue);
  std::thread([] { EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess) << "the last error is a thread's own"; }).join();
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_THROW(GTA_LAUNCH(add, dim3(1), dim3(32), 164 * 1024, stream, nullptr, 0.0f, 0), Error);
  cudaGetLastError();
}

TEST(HostCudaRuntime, MemoryEnds) {
  size_t free = 0, total = 0, left = 0;
  GTA_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  void *data = nullptr, *more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, free + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  GTA_CUDA_CHECK(cudaMalloc(&data, 1 << 20));
  GTA_CUDA_CHECK(cudaMemGetInfo(&left, &total));
  EXPECT_EQ(left, free - (1 << 20));
  GTA_CUDA_CHECK(cudaFree(data));
  GTA_CUDA_CHECK(cudaMemGetInfo(&left, &total));
  EXPECT_EQ(left, free);
}

// As the training loop, the loader and the writer of checkpoints do: each its own stream, memory and results; now and
// then waiting for another's.
TEST(HostCudaRuntime, SeveralThreadsAtOnce) {
  constexpr int kThreads = 4, kRounds = 10, kCount = 1000;
  const auto work = [](int thread) {
    const Stream stream, other;
    cudaEvent_t ready;
    GTA_CUDA_CHECK(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
    for (int round = 0; round < kRounds; ++round) {
      void* data = nullptr;
      GTA_CUDA_CHECK(cudaMallocAsync(&data, kCount * sizeof(float), stream));
      std::vector<float> values(kCount, static_cast<float>(thread));
      GTA_CUDA_CHECK(cudaMemcpyAsync(data, values.data(), kCount * sizeof(float), cudaMemcpyHostToDevice, stream));
      for (int i = 0; i < 3; ++i)
        GTA_LAUNCH(add, dim3(8), dim3(128), 0, stream, static_cast<float*>(data), 1.0f, kCount);
      GTA_CUDA_CHECK(cudaEventRecord(ready, stream));
      GTA_CUDA_CHECK(cudaStreamWaitEvent(other, ready, 0));
      GTA_CUDA_CHECK(cudaMemcpyAsync(values.data(), data, kCount * sizeof(float), cudaMemcpyDeviceToHost, other));
      GTA_CUDA_CHECK(cudaFreeAsync(data, other));
      GTA_CUDA_CHECK(cudaStreamSynchronize(other));
      for (float value : values) ASSERT_EQ(value, static_cast<float>(thread + 3));
    }
    GTA_CUDA_CHECK(cudaEventDestroy(ready));
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gta::cuda
