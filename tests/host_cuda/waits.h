// How often the host has waited, for tests of what must not wait.
#pragma once

#include <cstdint>

namespace host_cuda {

struct Waits {
  int64_t whole = 0;   // for a stream, for the device, or in a call that waits for all (cudaMemcpy, cudaFree, cudaHostAlloc)
  int64_t events = 0;  // for one event
};
Waits waits();

}  // namespace host_cuda
