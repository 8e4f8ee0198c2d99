#include "launch/as_rank.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "core/clock.h"
#include "core/comm/launcher.h"
#include "core/comm/mpi_transport.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/processors.h"
#include "launch/command_line.h"
#include "launch/signals.h"

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

// Otherwise each trains by itself, on every sample, in one folder.
void require_connection(const Launcher& launcher) {
  if (launcher.connects) return;
  bad_input(launcher.name,
            "started {} processes that cannot find each other: give it --mpi=pmix (srun --mpi=list names what there "
            "is), or start them by mpirun; trainings that are to know nothing of each other: env -u "
            "SLURM_STEP_NUM_TASKS gta ...",
            launcher.ranks);
}

void require_all(const Launcher& launcher, const Communicator& found) {
  if (found.ranks() != launcher.ranks)
    bad_input(launcher.name, "started {} processes, of which {} found each other: it has to be that of {}",
              launcher.ranks, found.ranks(), mpi_library());
}

[[noreturn]] void end_process(int code) {
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace

int report_after_lead(const Error& error) {
  constexpr std::chrono::seconds kPatience{2};
  const std::optional<Launcher> started_by = launcher();
  if (started_by && started_by->rank != 0) {
    const auto start = Clock::now();
    while (Clock::now() - start < kPatience) {
      if (stop_requested() != 0) return exit_code(error.kind());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  return report(error);
}

int work_as_rank(const std::function<int(Communicator&)>& command) {
  const std::optional<Launcher> started_by = launcher();
  if (!started_by || started_by->ranks == 1) {
    Communicator alone;
    return command(alone);
  }
  if (started_by->rank != 0) {
    log::set_console_level(log::Level::Error);
    acknowledge_stops(false);
  }
  std::optional<Communicator> joined;
  try {
    require_connection(*started_by);
    joined.emplace(mpi_transport());
    require_all(*started_by, *joined);
  } catch (const Error& error) {
    end_process(report_after_lead(error));
  }
  Communicator& ranks = *joined;
  try {
    share_processors(ranks);
    const int code = command(ranks);
    ranks.finish();
    return code;
  } catch (const Error& error) {
    if (error.agreed()) {
      acknowledge_stops(false);
      // Before anyone ends: a launcher ends the others with the first one, whatever they have left to say.
      const int code = ranks.leads() ? report(error) : exit_code(error.kind());
      ranks.finish();
      return code;
    }
    end_process(report_thrown());
  } catch (...) {
    end_process(report_thrown());
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
  } catch (...) {
    watchdog.last_words(what_was_thrown());
    throw;
  }
  watchdog.finish();
}

}  // namespace gta
