#include "core/thread.h"

#include <system_error>
#include <utility>

#include "core/error.h"

namespace gta {

std::thread start_thread(const std::string& what, std::function<void()> run) {
  try {
    return std::thread(std::move(run));
  } catch (const std::system_error& error) {
    fail("threads",
         "cannot start the one that {}: {}; end other processes, or raise the limit on their number (ulimit -u, a "
         "container's pids)",
         what, error.code().message());
  }
}

}  // namespace gta
