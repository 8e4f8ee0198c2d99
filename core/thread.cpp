#include "core/thread.h"

#include <utility>

#include "core/error.h"

namespace gta {

void fail_to_start_thread(const std::string& what, const std::error_code& why) {
  fail("threads",
       "cannot start the one that {}: {}; end other processes, or raise the limit on their number (ulimit -u, a "
       "container's pids) or on memory (ulimit -v)",
       what, why.message());
}

std::thread start_thread(const std::string& what, std::function<void()> run) {
  try {
    return std::thread(std::move(run));
  } catch (const std::system_error& error) {
    fail_to_start_thread(what, error.code());
  }
}

}  // namespace gta
