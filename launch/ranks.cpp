#include "launch/ranks.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>

#include "core/comm/launcher.h"
#include "core/comm/mpi_transport.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/processors.h"
#include "launch/command_line.h"

namespace gta {
namespace {

// Ranks of one host that may run on the same processors share them.
void share_processors(Communicator& ranks) {
  cpu_set_t own;
  CPU_ZERO(&own);
  ::sched_getaffinity(0, sizeof own, &own);
  const std::vector<cpu_set_t> all = ranks.gather("processors", own);
  int sharing = 0;
  for (size_t rank = 0; rank < all.size(); ++rank)
    sharing += ranks.hosts()[rank] == ranks.hosts()[static_cast<size_t>(ranks.rank())] && CPU_EQUAL(&all[rank], &own);
  set_default_threads(std::max(1, available_processors() / std::max(1, sharing)));
}

[[noreturn]] void end_process(int code) {
  std::fflush(nullptr);
  ::_exit(code);
}

int end_of_rank(const Communicator& ranks, const Error& error) {
  if (!error.agreed()) end_process(report(error));
  if (ranks.leads()) throw error;
  return exit_code(error.kind());
}

}  // namespace

int work_as_rank(const std::function<int(Communicator&)>& command) {
  const std::optional<Launcher> started_by = launcher();
  if (!started_by || started_by->ranks == 1) {
    Communicator alone;
    return command(alone);
  }
  if (started_by->rank != 0) log::set_console_level(log::Level::Error);
  Communicator ranks(mpi_transport());
  try {
    share_processors(ranks);
    const int code = command(ranks);
    ranks.finish();
    return code;
  } catch (const Error& error) {
    if (error.agreed()) ranks.finish();
    return end_of_rank(ranks, error);
  } catch (const std::bad_alloc&) {
    end_process(report(Error(ErrorKind::OutOfMemory, "memory", "the system has no memory left")));
  } catch (const std::exception& error) {
    end_process(report(Error(ErrorKind::Internal, "", error.what())));
  }
}

void watched(Watchdog& watchdog, const std::function<void()>& part) {
  try {
    part();
  } catch (const Error& error) {
    if (error.agreed())
      watchdog.finish();
    else
      watchdog.last_words(error.what());
    throw;
  } catch (const std::bad_alloc&) {
    watchdog.last_words("the system has no memory left");
    throw;
  } catch (const std::exception& error) {
    watchdog.last_words(error.what());
    throw;
  }
  watchdog.finish();
}

}  // namespace gta
