// Pinned memory of the host: what a GPU copies from and to by itself, while the host goes on. Asking the system for it
// takes milliseconds and waits for the device, so blocks are kept.
#pragma once

#include <cstdint>

#include "core/backends/cuda/runtime.h"

namespace gta::cuda {

class PinnedBlock {
 public:
  // One that no copy uses any more. When kMostPinned bytes are out, it waits for the copy that was begun first.
  PinnedBlock(const Device& device, int64_t bytes);
  ~PinnedBlock();  // copies queued with it may still be under way
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;

  char* data() const { return data_; }
  void begun(cudaStream_t stream);  // a copy from or to it has been queued
  bool done() const;                // it has ended
  void wait() const;                // until it has

 private:
  Device device_;
  int64_t bytes_ = 0;
  char* data_ = nullptr;
  cudaEvent_t copied_ = nullptr;
};

}  // namespace gta::cuda
