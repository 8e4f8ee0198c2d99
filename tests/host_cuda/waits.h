// How often the host has waited, and how much has come to it, for tests of what must not wait and what must stay.
#pragma once

#include <cstdint>

namespace host_cuda {

struct Waits {
  // for a stream, for the device, or in a call that waits for all (cudaMemcpy, cudaFree, cudaHostAlloc)
  int64_t whole = 0;
  int64_t events = 0;  // for one event
  int64_t bytes = 0;   // asked for by copies from the device to the host
};
Waits waits();

}  // namespace host_cuda
