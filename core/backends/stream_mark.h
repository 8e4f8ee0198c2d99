// Moments on a stream, for measuring.
#pragma once

#include <cstdint>
#include <memory>

#include "core/device.h"

namespace gta {

// Reached when everything queued before it is done.
struct StreamMark {
  virtual ~StreamMark() = default;
  // of the same device; waits until both are reached
  virtual int64_t nanoseconds_since(const StreamMark& first) const = 0;
};
GTA_KERNEL(std::unique_ptr<StreamMark> mark_stream(Stream stream))

}  // namespace gta
