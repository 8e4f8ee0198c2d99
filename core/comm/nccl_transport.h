// NCCL between the GPUs of the ranks, one GPU for each.
#pragma once

#include <memory>
#include <string>

#include "core/comm/communicator.h"
#include "core/comm/transport.h"

namespace gta {

bool has_nccl();             // whether this build has it
std::string nccl_version();  // "NCCL 2.28.9", "none"

// All ranks, each with a device that no other one has; what they need to find each other goes through the communicator.
// Throws alike on all. Error(BadInput) in a build without NCCL.
std::unique_ptr<Transport> nccl_transport(Communicator& ranks, const Device& device);

}  // namespace gta
