#include "core/process_memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "core/error.h"

namespace gta {

std::optional<int64_t> memory_within_limits() {
  int64_t size = 0, other = 0, data = 0;  // pages: size resident shared text lib data
  std::ifstream file("/proc/self/statm");
  if (!(file >> size >> other >> other >> other >> other >> data)) return std::nullopt;
  std::optional<int64_t> left;
  for (const auto& [resource, pages] : {std::pair{RLIMIT_AS, size}, {RLIMIT_DATA, data}}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) continue;
    const auto most = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
    left = std::min(left.value_or(INT64_MAX), std::max<int64_t>(0, most - pages * sysconf(_SC_PAGESIZE)));
  }
  return left;
}

void require_memory(const char* where, int64_t bytes) {
  // Not from the heap, which would keep it, and take later blocks of this size from there.
  void* const room =
      mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED)
    throw Error(ErrorKind::OutOfMemory, where,
                fmt::format("the system has no memory left: {} MiB are needed at this point", bytes >> 20));
  munmap(room, static_cast<size_t>(bytes));
}

}  // namespace gta
