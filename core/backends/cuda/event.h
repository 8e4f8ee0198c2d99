// An event without a time, which is cheaper than one with it.
#pragma once

#include "core/backends/cuda/runtime.h"

namespace gta::cuda {

class Event {
 public:
  // flags: cudaEventBlockingSync where a host thread waits for long.
  explicit Event(unsigned flags = 0) {
    GTA_CUDA_CHECK(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming | flags));
  }
  ~Event() {
    cudaEventDestroy(handle_);
    cudaGetLastError();  // at the process's end the runtime may be gone already
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { GTA_CUDA_CHECK(cudaEventRecord(handle_, stream)); }
  void hold(cudaStream_t later) const { GTA_CUDA_CHECK(cudaStreamWaitEvent(later, handle_, 0)); }
  void wait() const { GTA_CUDA_CHECK(cudaEventSynchronize(handle_)); }
  bool reached() const { return has_ended(handle_); }

 private:
  cudaEvent_t handle_ = nullptr;
};

// What is queued on `later` from now on comes behind what is queued on `earlier` by now. An event may go as soon as
// both know it.
inline void order(cudaStream_t earlier, cudaStream_t later) {
  Event reached;
  reached.record(earlier);
  reached.hold(later);
}

}  // namespace gta::cuda
