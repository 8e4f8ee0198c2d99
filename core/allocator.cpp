#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <mutex>

#include "core/backends/memory_kernels.h"
#include "core/free_blocks.h"
#include "core/sanitizer.h"

namespace gta {
namespace {

constexpr int64_t kPage = 4096;

// Of the heap's blocks eight sizes per power of two, of mapped ones (free_blocks.h) whole pages: at most an eighth of a
// block is lost.
int64_t rounded(int64_t bytes) {
  if (bytes <= 512) return 512;
  const int64_t step =
      bytes < kMappedBytes ? static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes))) / 8 : kPage;
  return (bytes + step - 1) / step * step;
}

// Blocks of the meta device have addresses that nobody reads, one below the other as the system's mappings have them.
char* const kMetaEnd = reinterpret_cast<char*>(uintptr_t{1} << 62);

struct Pool {
  std::mutex mutex;
  FreeBlocks free_blocks;
  char* meta_end = kMetaEnd;
  MemoryReport report;
};

Pool& pool_of(const Device& device) {
  static std::mutex mutex;
  // never destroyed: storage may outlive static destruction
  static auto& pools = *new std::map<std::pair<DeviceType, int>, Pool>;
  std::lock_guard lock(mutex);
  const auto [found, made] = pools.try_emplace({device.type, device.index});
  if (made)
    found->second.report.limit = device.type == DeviceType::Meta ? std::numeric_limits<int64_t>::max() / 2
                                                                 : GTA_DISPATCH(device, device_memory_bytes, device);
  return found->second;
}

// A GPU's freed blocks are kept by the runtime's own pool, which knows what its stream still works on.
bool keeps_blocks(const Device& device) { return memory_type(device) != DeviceType::Cuda; }

// For AddressSanitizer: kept memory that nothing holds is not to be touched. Only the host's is its business.
void mark(const Device& device, void* data, int64_t usable, int64_t bytes) {
  if (device.type == DeviceType::Cpu) mark_usable(data, usable, bytes);
}

void* take(const Device& device, Pool& pool, int64_t bytes) {
  if (device.type != DeviceType::Meta) return GTA_DISPATCH(device, raw_allocate, device, bytes);
  if (!keeps_blocks(device)) return kMetaEnd;
  if (reinterpret_cast<uintptr_t>(pool.meta_end) <= static_cast<uintptr_t>(bytes)) return nullptr;
  return pool.meta_end -= bytes;
}

void release_all(const Device& device, Pool& pool) {
  pool.free_blocks.clear([&](void* data, int64_t bytes) {
    if (data == pool.meta_end) pool.meta_end += bytes;
    mark(device, data, bytes, bytes);
    GTA_DISPATCH(device, raw_free, device, data, bytes);
  });
  pool.report.pooled = 0;
  GTA_DISPATCH(device, release_cached, device);
}

}  // namespace

const char* name_of(Purpose purpose) {
  switch (purpose) {
    case Purpose::Parameters:
      return "parameters";
    case Purpose::Gradients:
      return "gradients";
    case Purpose::Optimizer:
      return "optimizer";
    case Purpose::Activations:
      return "activations";
    case Purpose::Workspace:
      return "workspace";
    case Purpose::Data:
      return "data";
  }
  return "?";
}

int64_t MemoryReport::total_in_use() const {
  int64_t total = 0;
  for (int64_t bytes : in_use) total += bytes;
  return total;
}

std::string describe(const MemoryReport& report) {
  constexpr double mib = 1 << 20;
  std::string text;
  for (int i = 0; i < kPurposes; ++i)
    text += fmt::format("{}{} {:.1f} MiB (peak {:.1f})", i ? ", " : "", name_of(static_cast<Purpose>(i)),
                        report.in_use[i] / mib, report.peak[i] / mib);
  return text + fmt::format(", kept for reuse {:.1f} MiB, limit {:.1f} MiB", report.pooled / mib, report.limit / mib);
}

MemoryReport memory_report(const Device& device) {
  Pool& pool = pool_of(device);
  std::lock_guard lock(pool.mutex);
  return pool.report;
}

void reset_memory_peak(const Device& device) {
  Pool& pool = pool_of(device);
  std::lock_guard lock(pool.mutex);
  pool.report.peak = pool.report.in_use;
  pool.report.total_peak = pool.report.total_in_use();
  pool.report.reserved_peak = pool.report.total_in_use() + pool.report.pooled;
  pool.report.at_peak = pool.report.in_use;
}

void set_memory_limit(const Device& device, int64_t bytes) {
  Pool& pool = pool_of(device);
  std::lock_guard lock(pool.mutex);
  pool.report.limit = bytes;
  if (pool.report.total_in_use() + pool.report.pooled > bytes) release_all(device, pool);
}

void release_pooled_memory(const Device& device) {
  Pool& pool = pool_of(device);
  std::lock_guard lock(pool.mutex);
  release_all(device, pool);
}

namespace memory {

Block allocate(const Device& device, int64_t bytes, Purpose purpose) {
  Pool& pool = pool_of(device);
  const int64_t size = keeps_blocks(device) ? rounded(bytes) : std::max<int64_t>(bytes, 1);
  std::lock_guard lock(pool.mutex);
  MemoryReport& report = pool.report;
  void* data = pool.free_blocks.take(size);
  if (data) {
    report.pooled -= size;
  } else {
    if (report.total_in_use() + report.pooled + size > report.limit) release_all(device, pool);
    if (report.total_in_use() + size <= report.limit) data = take(device, pool, size);
    if (!data && report.total_in_use() + size <= report.limit) {
      release_all(device, pool);
      data = take(device, pool, size);
    }
    if (!data)
      throw Error(ErrorKind::OutOfMemory, "memory",
                  fmt::format("out of memory on {}: asked for {:.1f} MiB of {}; held: {}", name_of(device),
                              bytes / double(1 << 20), name_of(purpose), describe(report)));
  }
  const int i = static_cast<int>(purpose);
  mark(device, data, bytes, size);
  report.in_use[i] += size;
  report.peak[i] = std::max(report.peak[i], report.in_use[i]);
  if (const int64_t total = report.total_in_use(); total > report.total_peak) {
    report.total_peak = total;
    report.at_peak = report.in_use;
  }
  report.reserved_peak = std::max(report.reserved_peak, report.total_in_use() + report.pooled);
  return {data, size};
}

void free(const Device& device, Block block, Purpose purpose) noexcept {
  if (!block.data) return;
  Pool& pool = pool_of(device);
  std::lock_guard lock(pool.mutex);
  pool.report.in_use[static_cast<int>(purpose)] -= block.bytes;
  if (!keeps_blocks(device)) {
    GTA_DISPATCH(device, raw_free, device, block.data, block.bytes);
    return;
  }
  mark(device, block.data, 0, block.bytes);
  pool.report.pooled += block.bytes;
  pool.free_blocks.put(block.data, block.bytes);
}

}  // namespace memory
}  // namespace gta
