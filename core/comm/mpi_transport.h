// Ranks that are processes of an MPI job, through the host's memory.
#pragma once

#include "core/comm/transport.h"

namespace gta {

bool has_mpi();             // whether this build does
std::string mpi_library();  // "Open MPI v4.1.4"; "none" in a build without

// For the Communicator: starts MPI in the thread that calls it, and ends it there with close(). Once in a process.
// Error(BadInput) in a build without MPI.
OpenTransport mpi_transport();

}  // namespace gta
