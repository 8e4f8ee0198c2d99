// What this process may still have of memory.
#pragma once

#include <cstdint>
#include <optional>

namespace gta {

// What the limits on its address space (ulimit -v) and on its data (ulimit -d) leave now; nothing: there are none.
std::optional<int64_t> memory_within_limits();

// Error(OutOfMemory) where so many bytes cannot be had at this moment: for before calls of libraries that crash without
// memory, where an allocation of our own throws.
void require_memory(const char* where, int64_t bytes);

}  // namespace gta
