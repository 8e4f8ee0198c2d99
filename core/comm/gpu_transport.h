// How the GPUs of several ranks speak to each other.
#pragma once

#include <cstdint>
#include <string>

#include "core/device.h"

namespace gta {

class Communicator;

enum class GpuTransport : uint8_t {
  Auto,  // NCCL where the build has it and each rank has a GPU of its own; otherwise as Host
  Nccl,  // Error(BadInput) where that cannot be
  Host   // through the hosts' memory: slower, the same bits; several ranks may share a GPU
};
const char* name_of(GpuTransport transport);  // "auto", "nccl", "host"

// The device that a rank of several means by a name ("cuda", "auto"): the ranks of a host take its GPUs in turn, unless
// the name has a number. Errors as device_from_name().
Device device_of_rank(const Communicator& ranks, const std::string& name);

// All ranks, each with its own device; nothing where that is the CPU. Throws alike on all.
void connect_gpus(Communicator& ranks, const Device& device, GpuTransport transport);

// How many ranks have the memory of this rank's device: of a host's processors those on the host. All ranks.
int64_t ranks_that_share(Communicator& ranks, const Device& device);

}  // namespace gta
