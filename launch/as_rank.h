// A command whose process is one of several that a launcher (mpirun, srun) started to work together.
#pragma once

#include <functional>

#include "core/comm/communicator.h"
#include "core/comm/watchdog.h"

namespace gta {

// Joins the ranks of the launcher, or is alone where there is none or where it started one process; MPI is touched only
// where there are several. The command's exit code. An error that all ranks met alike the lead says, before any of them
// ends; after any other error this process ends here, as others may be waiting for it.
int work_as_rank(const std::function<int(Communicator&)>& command);

// Runs a part that the watchdog watches: the ranks part from it where it ends well or all met the same error, and what
// one alone met becomes the cause that all are told.
void watched(Watchdog& watchdog, const std::function<void()>& part);

}  // namespace gta
