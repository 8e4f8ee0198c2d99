// Raw memory of a device: what the allocator and tensors build on.
#pragma once

#include <memory>

#include "core/device.h"

namespace gta {

// 64-byte aligned, nullptr when the device has none left.
GTA_KERNEL(void* raw_allocate(const Device& device, int64_t bytes) noexcept)
GTA_KERNEL(void raw_free(const Device& device, void* data, int64_t bytes) noexcept)
// What the backend itself keeps of freed memory goes back to the system; how many bytes that was.
GTA_KERNEL(int64_t release_cached(const Device& device))
GTA_KERNEL(int64_t device_memory_bytes(const Device& device))
// rows x row_bytes on one device, each side with its own distance between rows in bytes. Ordered on the stream.
GTA_KERNEL(void copy_rows(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows,
                          int64_t row_bytes))
GTA_KERNEL(void fill_zero(Stream stream, void* data, int64_t pitch, int64_t rows, int64_t row_bytes))
// Returns when everything queued on the stream is done.
GTA_KERNEL(void synchronize(Stream stream))

// rows x row_bytes from the host, ordered on the stream; `from` may change, or go, on return. Waits for nothing but,
// when much is under way, copies like it.
GTA_KERNEL(void copy_from_host(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch,
                               int64_t rows, int64_t row_bytes))
// rows x row_bytes to adjacent bytes of the host, there on return. Runs beside the compute stream, from any thread:
// what wrote `from` has to be done (synchronize).
GTA_KERNEL(void copy_to_host(const Device& device, void* to, const void* from, int64_t from_pitch, int64_t rows,
                             int64_t row_bytes))

// Bytes on their way to the host.
struct HostCopyInFlight {
  virtual ~HostCopyInFlight() = default;
  virtual const void* wait() = 0;  // the bytes, when they are there; they stay as long as this object
};
// The same few bytes (they take pinned memory), ordered on the stream; returns at once.
GTA_KERNEL(std::unique_ptr<HostCopyInFlight> begin_copy_to_host(Stream stream, const void* from, int64_t from_pitch,
                                                                int64_t rows, int64_t row_bytes))

}  // namespace gta
