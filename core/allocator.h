// The pooling allocator of each device, and what is held, by purpose.
//
// Freed blocks are kept and handed out again (free_blocks.h), so a training step allocates nothing from the system
// after the first one or two. Blocks are 64-byte aligned. Safe from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/device.h"

namespace gta {

enum class Purpose : uint8_t { Parameters, Gradients, Optimizer, Activations, Workspace, Data };
inline constexpr int kPurposes = 6;
const char* name_of(Purpose purpose);  // "parameters", ...

struct MemoryReport {
  std::array<int64_t, kPurposes> in_use{};   // bytes held by live storage
  std::array<int64_t, kPurposes> peak{};     // largest in_use since the last reset_memory_peak
  int64_t pooled = 0;                        // bytes freed and kept for the next request
  int64_t total_peak = 0;                    // largest sum of in_use
  int64_t reserved_peak = 0;                 // largest in_use + pooled
  std::array<int64_t, kPurposes> at_peak{};  // in_use when it added up to total_peak
  int64_t limit = 0;                         // bytes this process may hold
  int64_t total_in_use() const;
};

MemoryReport memory_report(const Device& device);
void reset_memory_peak(const Device& device);
// Bytes that storage may take on the device. The default is what the machine (and its control group) has.
void set_memory_limit(const Device& device, int64_t bytes);
// Gives pooled blocks back to the system.
void release_pooled_memory(const Device& device);
// One line per purpose, for error messages and the start-up lines.
std::string describe(const MemoryReport& report);

namespace memory {
struct Block {
  void* data = nullptr;
  int64_t bytes = 0;  // with what rounding adds
};
// Error(OutOfMemory) says what was asked and what is held by purpose.
Block allocate(const Device& device, int64_t bytes, Purpose purpose);
void free(const Device& device, Block block, Purpose purpose) noexcept;
}  // namespace memory

}  // namespace gta
