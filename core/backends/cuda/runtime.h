// Devices, their streams, and errors: the host's side of the CUDA backend.
#pragma once

#include <cuda_runtime.h>

#include "core/device.h"

namespace gta::cuda {

// Error naming the call and what CUDA said: OutOfMemory for cudaErrorMemoryAllocation, Failed for all else.
void check(cudaError_t status, const char* call);
#define GTA_CUDA_CHECK(call) ::gta::cuda::check((call), #call)

bool has_ended(cudaEvent_t event);  // whether it has been reached; does not wait

// The device's one compute stream: all kernels run on it in the order they were queued, which is also what makes it
// safe to give memory back before they are done. Made at first use, never the default stream. Makes the device current
// for this thread.
cudaStream_t stream_of(const Device& device);
inline cudaStream_t stream_of(const Stream& stream) {
  return stream.handle ? static_cast<cudaStream_t>(stream.handle) : stream_of(stream.device);
}

// The most shared memory, static and dynamic together, that a block of the device can ask for: 163 KiB on compute
// capability 8.0, 227 on 9.0, 99 on 8.6, 8.9 and 12.x. Asked of the device once.
size_t shared_bytes_of(const Device& device);

}  // namespace gta::cuda
