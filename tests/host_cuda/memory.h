// The device's memory on the host: where the device alone may look, and what a pointer belongs to.
#pragma once

#include <cstddef>

namespace host_cuda {

// Ordered: memory of the device that nobody may touch before make_usable.
enum class Kind { Device, Ordered, Pinned };

// Ends at a page that nobody may touch, up to what is missing to 16 bytes. Filled with options().fill. nullptr when the
// device has no such room.
void* allocate_memory(size_t bytes, Kind kind);
// The stream of an Ordered allocation has come to it.
void make_usable(void* p);
// Its addresses are never given out again. Fails for what is no live allocation.
void free_memory(void* p);
// Whether p lies in device or pinned memory; then the bytes from p to its allocation's end.
bool is_allocated(const void* p, size_t* bytes_left = nullptr);
bool is_of_device(const void* p);  // and not pinned
size_t allocated_bytes();
inline constexpr size_t kDeviceBytes = size_t{16} << 30;

// Device memory can be touched as long as one of these lives.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
};

}  // namespace host_cuda
