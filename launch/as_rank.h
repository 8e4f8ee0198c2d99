// A command whose process is one of several that a launcher (mpirun, srun) started to work together.
#pragma once

#include <functional>

#include "core/comm/communicator.h"
#include "core/comm/watchdog.h"
#include "core/error.h"

namespace gta {

// Joins the ranks of the launcher, or is alone where there is none or where it started one process; MPI is touched only
// where there are several. The command's exit code. An error that all ranks met alike the lead says, before any of them
// ends; after any other error this process ends here, as others may be waiting for it.
int work_as_rank(const std::function<int(Communicator&)>& command);

// report(error) of what a rank meets before it knows the others, which meet it too where it is wrong usage. Rank 0
// says it and ends, at which the launcher ends the others: these wait two seconds for that, and say it where they live
// on. The exit code.
int report_after_lead(const Error& error);

// Runs a part that the watchdog watches: the ranks part from it where it ends well or all met the same error, and what
// one alone met becomes the cause that all are told.
void watched(Watchdog& watchdog, const std::function<void()>& part);

}  // namespace gta
