// Raw memory of a device: what the allocator and tensors build on.
#pragma once

#include "core/device.h"

namespace gta {

// 64-byte aligned, nullptr when the device has none left.
GTA_KERNEL(void* raw_allocate(int64_t bytes) noexcept)
GTA_KERNEL(void raw_free(void* data, int64_t bytes) noexcept)
GTA_KERNEL(int64_t device_memory_bytes())
// rows x row_bytes, each side with its own distance between rows in bytes. Ordered on the stream.
GTA_KERNEL(void copy_rows(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows, int64_t row_bytes))
GTA_KERNEL(void fill_zero(Stream stream, void* data, int64_t pitch, int64_t rows, int64_t row_bytes))
// Returns when everything queued on the stream is done.
GTA_KERNEL(void synchronize(Stream stream))

}  // namespace gta
