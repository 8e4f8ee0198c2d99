#include "core/backends/stream_mark.h"

#include <cmath>

#include "core/backends/cuda/runtime.h"

namespace gta::cuda {
namespace {

struct Event : StreamMark {
  explicit Event(cudaStream_t stream) {
    GTA_CUDA_CHECK(cudaEventCreate(&event));
    GTA_CUDA_CHECK(cudaEventRecord(event, stream));
  }
  ~Event() override {
    cudaEventDestroy(event);
    cudaGetLastError();
  }
  int64_t nanoseconds_since(const StreamMark& first) const override {
    float milliseconds = 0;
    GTA_CUDA_CHECK(cudaEventSynchronize(event));
    GTA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, static_cast<const Event&>(first).event, event));
    return std::llround(1e6 * static_cast<double>(milliseconds));
  }
  cudaEvent_t event = nullptr;
};

}  // namespace

std::unique_ptr<StreamMark> mark_stream(Stream stream) { return std::make_unique<Event>(stream_of(stream)); }

}  // namespace gta::cuda
