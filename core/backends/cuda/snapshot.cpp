#include "core/backends/snapshot.h"

#include <atomic>

#include "core/backends/cuda/event.h"

namespace gta::cuda {
namespace {

struct Copy : HostCopyInFlight {
  explicit Copy(const char* d) : data(d) {}
  const void* wait() override {
    made.wait();
    return data;
  }
  Event made{cudaEventBlockingSync};
  const char* data;
};

class PinnedSnapshot : public Snapshot {
 public:
  // `data` is its own from now on.
  PinnedSnapshot(const Device& device, char* data, int64_t bytes) : device_(device), data_(data), bytes_(bytes) {}
  ~PinnedSnapshot() override {
    if (stream_) {
      cudaStreamSynchronize(stream_);
      cudaStreamDestroy(stream_);
    }
    cudaFreeHost(data_);
    cudaGetLastError();
  }
  PinnedSnapshot(const PinnedSnapshot&) = delete;
  PinnedSnapshot& operator=(const PinnedSnapshot&) = delete;

  void open() { GTA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }

  int64_t bytes() const override { return bytes_; }
  void follow_compute() override { order(stream_of(device_), stream_); }
  std::unique_ptr<HostCopyInFlight> begin(const void* from, int64_t offset, int64_t bytes) override {
    stream_of(device_);  // makes it this thread's
    auto copy = std::make_unique<Copy>(data_ + offset);
    begun_ = true;
    GTA_CUDA_CHECK(cudaMemcpyAsync(data_ + offset, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream_));
    copy->made.record(stream_);
    return copy;
  }
  void hold_compute() override {
    if (begun_.exchange(false)) order(stream_, stream_of(device_));
  }

 private:
  Device device_;
  char* data_;
  int64_t bytes_;
  cudaStream_t stream_ = nullptr;
  std::atomic<bool> begun_ = false;  // copies that the compute stream does not wait for yet
};

}  // namespace

std::unique_ptr<Snapshot> make_snapshot(const Device& device, int64_t bytes) {
  stream_of(device);  // makes it current
  char* data = nullptr;
  if (cudaHostAlloc(reinterpret_cast<void**>(&data), static_cast<size_t>(bytes), cudaHostAllocPortable) !=
      cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  auto snapshot = std::make_unique<PinnedSnapshot>(device, data, bytes);
  snapshot->open();
  return snapshot;
}

}  // namespace gta::cuda
