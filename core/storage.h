// One block of a device's memory, given back to its pool with the last Tensor that looks at it.
#pragma once

#include "core/allocator.h"

namespace gta {

class Storage {
 public:
  Storage(int64_t bytes, Device device, Purpose purpose)
      : device_(device), purpose_(purpose), block_(memory::allocate(device, bytes, purpose)) {}
  ~Storage() { memory::free(device_, block_, purpose_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  char* data() const { return static_cast<char*>(block_.data); }
  const Device& device() const { return device_; }

 private:
  Device device_;
  Purpose purpose_;
  memory::Block block_;
};

}  // namespace gta
