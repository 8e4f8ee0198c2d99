#include "core/backends/cuda/pinned.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <mutex>

namespace gta::cuda {
namespace {

constexpr int64_t kLeast = 4096;
constexpr int64_t kMostPinned = int64_t{64} << 20;  // bytes of a device, unless one block is larger

struct Kept {
  char* data;
  cudaEvent_t copied;
};

struct Pool {
  std::mutex mutex;
  std::map<int64_t, std::deque<Kept>> kept;  // by size, those first whose copy began first
  int64_t bytes = 0;                         // kept and out
};

Pool& pool_of(const Device& device) {
  static std::mutex mutex;
  // never destroyed: at the process's end the runtime may be gone before it
  static auto& pools = *new std::map<int, Pool>;
  std::lock_guard lock(mutex);
  return pools[device.index];
}

}  // namespace

PinnedBlock::PinnedBlock(const Device& device, int64_t bytes)
    : device_(device), bytes_(std::max(kLeast, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes))))) {
  Pool& pool = pool_of(device);
  std::unique_lock lock(pool.mutex);
  std::deque<Kept>& kept = pool.kept[bytes_];
  const bool ended = !kept.empty() && has_ended(kept.front().copied), full = pool.bytes + bytes_ > kMostPinned;
  if (!kept.empty() && (ended || full)) {
    const Kept block = kept.front();
    kept.pop_front();
    lock.unlock();
    if (!ended) GTA_CUDA_CHECK(cudaEventSynchronize(block.copied));
    data_ = block.data;
    copied_ = block.copied;
    return;
  }
  stream_of(device);  // makes it current
  GTA_CUDA_CHECK(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming | cudaEventBlockingSync));
  GTA_CUDA_CHECK(cudaHostAlloc(reinterpret_cast<void**>(&data_), static_cast<size_t>(bytes_), cudaHostAllocPortable));
  pool.bytes += bytes_;
}

PinnedBlock::~PinnedBlock() {
  Pool& pool = pool_of(device_);
  std::lock_guard lock(pool.mutex);
  pool.kept[bytes_].push_back({data_, copied_});
}

void PinnedBlock::begun(cudaStream_t stream) { GTA_CUDA_CHECK(cudaEventRecord(copied_, stream)); }

bool PinnedBlock::done() const { return has_ended(copied_); }

void PinnedBlock::wait() const { GTA_CUDA_CHECK(cudaEventSynchronize(copied_)); }

}  // namespace gta::cuda
