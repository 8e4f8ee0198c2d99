#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/backends/memory_kernels.h"
#include "core/control_groups.h"
#include "core/free_blocks.h"
#include "core/parallel.h"
#include "core/process_memory.h"

namespace gta::cpu {
namespace {

constexpr int64_t kCopyGrain = int64_t{1} << 18;  // bytes; below this a second thread costs more than it brings

}  // namespace

// All but small blocks are mapped: what is kept for a whole run would otherwise lie between a library's passing blocks
// in the heap, which then grows around it. Each block is wished for below the one before, far from what else is mapped:
// free neighbours become one block (free_blocks.h), so what a step holds does not depend on the holes that a process
// happens to have. Where the place is taken the system chooses. Huge pages where the kernel offers them mean fewer TLB
// misses in the products.
void* raw_allocate(const Device&, int64_t bytes) noexcept {
  if (bytes < kMappedBytes) return std::aligned_alloc(64, static_cast<size_t>((bytes + 63) / 64 * 64));
  static std::atomic<uintptr_t> last{uintptr_t{3} << 44};
  void* const wish = reinterpret_cast<void*>(last.load() - static_cast<uintptr_t>(bytes));
  void* data = mmap(wish, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  last = reinterpret_cast<uintptr_t>(data);
  madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return data;
}

void raw_free(const Device&, void* data, int64_t bytes) noexcept {
  if (bytes < kMappedBytes)
    std::free(data);
  else
    munmap(data, static_cast<size_t>(bytes));
}

// The pool above is all that keeps freed blocks.
int64_t release_cached(const Device&) { return 0; }

int64_t device_memory_bytes(const Device&) {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (const auto limit = ControlGroups().memory_bytes()) bytes = std::min(bytes, *limit);
  if (const auto left = memory_within_limits()) bytes = std::min(bytes, *left);
  return bytes;
}

void copy_rows(Stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows,
               int64_t row_bytes) {
  if (rows * row_bytes == 0) return;
  if (to_pitch == row_bytes && from_pitch == row_bytes) {
    const int64_t total = rows * row_bytes;
    parallel_for((total + kCopyGrain - 1) / kCopyGrain, [&](int64_t i) {
      const int64_t first = i * kCopyGrain;
      std::memcpy(static_cast<char*>(to) + first, static_cast<const char*>(from) + first,
                  std::min(kCopyGrain, total - first));
    });
    return;
  }
  const int64_t chunk = std::max<int64_t>(1, kCopyGrain / row_bytes);
  parallel_for((rows + chunk - 1) / chunk, [&](int64_t i) {
    for (int64_t r = i * chunk; r < std::min(rows, (i + 1) * chunk); ++r)
      std::memcpy(static_cast<char*>(to) + r * to_pitch, static_cast<const char*>(from) + r * from_pitch, row_bytes);
  });
}

void fill_zero(Stream, void* data, int64_t pitch, int64_t rows, int64_t row_bytes) {
  if (rows * row_bytes == 0) return;
  if (pitch == row_bytes) {
    row_bytes *= rows;
    rows = 1;
  }
  const int64_t pieces = (row_bytes + kCopyGrain - 1) / kCopyGrain;
  parallel_for(rows * pieces, [&](int64_t i) {
    const int64_t first = i % pieces * kCopyGrain;
    std::memset(static_cast<char*>(data) + i / pieces * pitch + first, 0, std::min(kCopyGrain, row_bytes - first));
  });
}

void synchronize(Stream) {}

void copy_from_host(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows,
                    int64_t row_bytes) {
  copy_rows(stream, to, to_pitch, from, from_pitch, rows, row_bytes);
}

void copy_to_host(const Device& device, void* to, const void* from, int64_t from_pitch, int64_t rows,
                  int64_t row_bytes) {
  copy_rows(Stream{device}, to, row_bytes, from, from_pitch, rows, row_bytes);
}

std::unique_ptr<HostCopyInFlight> begin_copy_to_host(Stream stream, const void* from, int64_t from_pitch, int64_t rows,
                                                     int64_t row_bytes) {
  struct Copied : HostCopyInFlight {
    std::vector<char> bytes;
    const void* wait() override { return bytes.data(); }
  };
  auto copied = std::make_unique<Copied>();
  copied->bytes.resize(static_cast<size_t>(rows * row_bytes));
  copy_rows(stream, copied->bytes.data(), row_bytes, from, from_pitch, rows, row_bytes);
  return copied;
}

}  // namespace gta::cpu
