// Devices, their compute streams, and what CUDA's error codes become.
#include <mutex>
#include <string>
#include <vector>

#include "core/backends/cuda/runtime.h"

namespace gta::cuda {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it has been told
  throw Error(status == cudaErrorMemoryAllocation ? ErrorKind::OutOfMemory : ErrorKind::Failed, "cuda",
              fmt::format("{}: {} ({})", call, cudaGetErrorString(status), cudaGetErrorName(status)));
}

bool has_ended(cudaEvent_t event) {
  const cudaError_t status = cudaEventQuery(event);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // which remembers it like an error
    return false;
  }
  check(status, "cudaEventQuery");
  return true;
}

cudaStream_t stream_of(const Device& device) {
  static std::mutex mutex;
  static auto& streams = *new std::vector<cudaStream_t>;  // never destroyed: storage may outlive static destruction
  GTA_CUDA_CHECK(cudaSetDevice(device.index));
  std::lock_guard lock(mutex);
  if (streams.size() <= static_cast<size_t>(device.index)) streams.resize(device.index + 1);
  cudaStream_t& stream = streams[device.index];
  if (!stream) GTA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

size_t shared_bytes_of(const Device& device) {
  static std::mutex mutex;
  static auto& known = *new std::vector<int>;  // zero: not yet asked
  std::lock_guard lock(mutex);
  if (known.size() <= static_cast<size_t>(device.index)) known.resize(device.index + 1);
  int& bytes = known[device.index];
  if (!bytes) GTA_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index));
  return static_cast<size_t>(bytes);
}

std::string no_device_because() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return {};
  cudaGetLastError();
  return status == cudaSuccess || status == cudaErrorNoDevice ? "no GPU is visible to CUDA"
                                                              : cudaGetErrorString(status);
}

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) cudaGetLastError();
  return count;
}

std::string device_description(const Device& device) {
  cudaDeviceProp properties;
  GTA_CUDA_CHECK(cudaGetDeviceProperties(&properties, device.index));
  return fmt::format("{}, compute capability {}.{}, {} multiprocessors, {:.0f} GiB", properties.name, properties.major,
                     properties.minor, properties.multiProcessorCount,
                     static_cast<double>(properties.totalGlobalMem) / (1 << 30));
}

std::string device_uuid(const Device& device) {
  cudaDeviceProp properties;
  GTA_CUDA_CHECK(cudaGetDeviceProperties(&properties, device.index));
  std::string text;
  for (char byte : properties.uuid.bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace gta::cuda
