// Memory of a GPU from the runtime's stream-ordered pool: a block may be given back while kernels queued before that still use it, since what
// gets it next is queued behind them on the device's one compute stream.
#include <mutex>
#include <vector>

#include "core/backends/cuda/runtime.h"
#include "core/backends/memory_kernels.h"

namespace gta::cuda {
namespace {

cudaMemPool_t pool_of(const Device& device) {
  static std::mutex mutex;
  static auto& pools = *new std::vector<cudaMemPool_t>;
  std::lock_guard lock(mutex);
  if (pools.size() <= static_cast<size_t>(device.index)) pools.resize(device.index + 1);
  cudaMemPool_t& pool = pools[device.index];
  if (!pool) {
    GTA_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, device.index));
    // What a step gives back is what the next one takes: nothing goes to the driver in between.
    uint64_t keep = UINT64_MAX;
    GTA_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  }
  return pool;
}

// Copies to the host run beside the compute stream, one stream a thread: the writer of a checkpoint does not wait for a step's kernels.
cudaStream_t copy_stream(const Device& device) {
  thread_local std::vector<cudaStream_t> streams;
  GTA_CUDA_CHECK(cudaSetDevice(device.index));
  if (streams.size() <= static_cast<size_t>(device.index)) streams.resize(device.index + 1);
  if (!streams[device.index]) GTA_CUDA_CHECK(cudaStreamCreateWithFlags(&streams[device.index], cudaStreamNonBlocking));
  return streams[device.index];
}

}  // namespace

void* raw_allocate(const Device& device, int64_t bytes) noexcept {
  try {
    const cudaStream_t stream = stream_of(device);
    pool_of(device);
    void* data = nullptr;
    if (cudaMallocAsync(&data, static_cast<size_t>(bytes), stream) == cudaSuccess) return data;
  } catch (const Error&) {  // no device: the allocator says that there is no memory
  }
  cudaGetLastError();
  return nullptr;
}

void raw_free(const Device& device, void* data, int64_t) noexcept {
  try {
    // At the process's end the runtime may be gone already, and the memory with it.
    cudaFreeAsync(data, stream_of(device));
  } catch (const Error&) {
  }
  cudaGetLastError();
}

int64_t release_cached(const Device& device) {
  uint64_t before = 0, after = 0;
  const cudaMemPool_t pool = pool_of(device);
  GTA_CUDA_CHECK(cudaStreamSynchronize(stream_of(device)));
  GTA_CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &before));
  GTA_CUDA_CHECK(cudaMemPoolTrimTo(pool, 0));
  GTA_CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &after));
  return static_cast<int64_t>(before - after);
}

int64_t device_memory_bytes(const Device& device) {
  size_t free = 0, total = 0;
  stream_of(device);  // makes it current
  GTA_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

void copy_rows(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows, int64_t row_bytes) {
  if (rows * row_bytes == 0) return;
  if (to_pitch == row_bytes && from_pitch == row_bytes)
    GTA_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(rows * row_bytes), cudaMemcpyDefault, stream_of(stream)));
  else
    GTA_CUDA_CHECK(cudaMemcpy2DAsync(to, static_cast<size_t>(to_pitch), from, static_cast<size_t>(from_pitch), static_cast<size_t>(row_bytes),
                                     static_cast<size_t>(rows), cudaMemcpyDefault, stream_of(stream)));
}

void fill_zero(Stream stream, void* data, int64_t pitch, int64_t rows, int64_t row_bytes) {
  if (rows * row_bytes == 0) return;
  if (pitch == row_bytes)
    GTA_CUDA_CHECK(cudaMemsetAsync(data, 0, static_cast<size_t>(rows * row_bytes), stream_of(stream)));
  else
    GTA_CUDA_CHECK(cudaMemset2DAsync(data, static_cast<size_t>(pitch), 0, static_cast<size_t>(row_bytes), static_cast<size_t>(rows),
                                     stream_of(stream)));
}

void synchronize(Stream stream) { GTA_CUDA_CHECK(cudaStreamSynchronize(stream_of(stream))); }

void copy_to_host(const Device& device, void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t stream = copy_stream(device);
  GTA_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream));
  GTA_CUDA_CHECK(cudaStreamSynchronize(stream));
}

void copy_from_host(const Device& device, void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t stream = stream_of(device);
  GTA_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream));
  GTA_CUDA_CHECK(cudaStreamSynchronize(stream));
}

}  // namespace gta::cuda
