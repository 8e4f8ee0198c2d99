// What lies on a device at one moment, on its way to pinned memory of the host: copied piece by piece beside the
// compute stream, on a stream of its own, while the host goes on and the device computes.
//
//   snapshot->follow_compute();           the moment: behind all that is queued for the device
//   copy = snapshot->begin(...)           as often as there are pieces; queued, not waited for
//   snapshot->hold_compute();             what is queued from now on runs when the copies have been made,
//                                         so it may change the memory
//   ...that is queued...
//   copy->wait()                          from any thread, at any time
#pragma once

#include <memory>

#include "core/backends/memory_kernels.h"

namespace gta {

struct Snapshot {
  virtual ~Snapshot() = default;  // waits for copies under way

  virtual int64_t bytes() const = 0;  // of pinned memory
  virtual void follow_compute() = 0;
  // Copies into bytes `offset` to `offset + bytes`, which stay until another copy goes there. From any thread.
  virtual std::unique_ptr<HostCopyInFlight> begin(const void* from, int64_t offset, int64_t bytes) = 0;
  // For the copies begun up to now, by whichever thread; nothing when there are none. The host does not wait.
  virtual void hold_compute() = 0;
};

// nullptr on a device whose memory the host reads where it lies, and when the system has no such pinned memory to give.
GTA_KERNEL(std::unique_ptr<Snapshot> make_snapshot(const Device& device, int64_t bytes))

}  // namespace gta
