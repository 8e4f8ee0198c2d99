// Memory of a GPU from the runtime's stream-ordered pool: a block may be given back while kernels queued before that
// still use it, since what gets it next is queued behind them on the device's one compute stream.
#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

#include "core/backends/cuda/pinned.h"
#include "core/backends/memory_kernels.h"

namespace gta::cuda {
namespace {

cudaMemPool_t pool_of(const Device& device) {
  static std::mutex mutex;
  static auto& pools = *new std::vector<cudaMemPool_t>;
  std::lock_guard lock(mutex);
  if (pools.size() <= static_cast<size_t>(device.index)) pools.resize(device.index + 1);
  cudaMemPool_t& pool = pools[device.index];
  if (!pool) {
    GTA_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, device.index));
    // What a step gives back is what the next one takes: nothing goes to the driver in between.
    uint64_t keep = UINT64_MAX;
    GTA_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  }
  return pool;
}

// Copies to the host run beside the compute stream, one stream a thread: the writer of a checkpoint does not wait for a
// step's kernels.
cudaStream_t copy_stream(const Device& device) {
  thread_local std::vector<cudaStream_t> streams;
  GTA_CUDA_CHECK(cudaSetDevice(device.index));
  if (streams.size() <= static_cast<size_t>(device.index)) streams.resize(device.index + 1);
  if (!streams[device.index]) GTA_CUDA_CHECK(cudaStreamCreateWithFlags(&streams[device.index], cudaStreamNonBlocking));
  return streams[device.index];
}

// A copy between a GPU and the host goes through pinned memory in pieces: whole rows, or a part of one.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

struct Piece {
  int64_t row, rows;    // the first, how many
  int64_t byte, bytes;  // of each row
};

template <class F>
void for_pieces(int64_t to_pitch, int64_t from_pitch, int64_t rows, int64_t row_bytes, const F& f) {
  const bool adjacent = to_pitch == row_bytes && from_pitch == row_bytes;
  if (adjacent) {
    row_bytes *= rows;
    rows = std::min<int64_t>(rows, 1);
  }
  if (rows * row_bytes == 0) return;
  const int64_t bytes = std::min(row_bytes, kPieceBytes), count = std::max<int64_t>(1, kPieceBytes / bytes);
  for (int64_t row = 0; row < rows; row += count)
    for (int64_t byte = 0; byte < row_bytes; byte += bytes)
      f({row, std::min(count, rows - row), byte, std::min(bytes, row_bytes - byte)});
}

}  // namespace

void* raw_allocate(const Device& device, int64_t bytes) noexcept {
  try {
    const cudaStream_t stream = stream_of(device);
    pool_of(device);
    void* data = nullptr;
    if (cudaMallocAsync(&data, static_cast<size_t>(bytes), stream) == cudaSuccess) return data;
  } catch (const Error&) {  // no device: the allocator says that there is no memory
  }
  cudaGetLastError();
  return nullptr;
}

void raw_free(const Device& device, void* data, int64_t) noexcept {
  try {
    // At the process's end the runtime may be gone already, and the memory with it.
    cudaFreeAsync(data, stream_of(device));
  } catch (const Error&) {
  }
  cudaGetLastError();
}

int64_t release_cached(const Device& device) {
  uint64_t before = 0, after = 0;
  const cudaMemPool_t pool = pool_of(device);
  GTA_CUDA_CHECK(cudaStreamSynchronize(stream_of(device)));
  GTA_CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &before));
  GTA_CUDA_CHECK(cudaMemPoolTrimTo(pool, 0));
  GTA_CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &after));
  return static_cast<int64_t>(before - after);
}

int64_t device_memory_bytes(const Device& device) {
  size_t free = 0, total = 0;
  stream_of(device);  // makes it current
  GTA_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

void copy_rows(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows,
               int64_t row_bytes) {
  if (rows * row_bytes == 0) return;
  if (rows == 1 || (to_pitch == row_bytes && from_pitch == row_bytes))
    GTA_CUDA_CHECK(
        cudaMemcpyAsync(to, from, static_cast<size_t>(rows * row_bytes), cudaMemcpyDefault, stream_of(stream)));
  else
    GTA_CUDA_CHECK(cudaMemcpy2DAsync(to, static_cast<size_t>(to_pitch), from, static_cast<size_t>(from_pitch),
                                     static_cast<size_t>(row_bytes), static_cast<size_t>(rows), cudaMemcpyDefault,
                                     stream_of(stream)));
}

void fill_zero(Stream stream, void* data, int64_t pitch, int64_t rows, int64_t row_bytes) {
  if (rows * row_bytes == 0) return;
  if (pitch == row_bytes)
    GTA_CUDA_CHECK(cudaMemsetAsync(data, 0, static_cast<size_t>(rows * row_bytes), stream_of(stream)));
  else
    GTA_CUDA_CHECK(cudaMemset2DAsync(data, static_cast<size_t>(pitch), 0, static_cast<size_t>(row_bytes),
                                     static_cast<size_t>(rows), stream_of(stream)));
}

void synchronize(Stream stream) { GTA_CUDA_CHECK(cudaStreamSynchronize(stream_of(stream))); }

void copy_from_host(Stream stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t rows,
                    int64_t row_bytes) {
  for_pieces(to_pitch, from_pitch, rows, row_bytes, [&](const Piece& piece) {
    PinnedBlock block(stream.device, piece.rows * piece.bytes);
    for (int64_t r = 0; r < piece.rows; ++r)
      std::memcpy(block.data() + r * piece.bytes,
                  static_cast<const char*>(from) + (piece.row + r) * from_pitch + piece.byte,
                  static_cast<size_t>(piece.bytes));
    copy_rows(stream, static_cast<char*>(to) + piece.row * to_pitch + piece.byte, to_pitch, block.data(), piece.bytes,
              piece.rows, piece.bytes);
    block.begun(stream_of(stream));
  });
}

// One piece is on its way while the one before it moves from pinned memory to where it belongs.
void copy_to_host(const Device& device, void* to, const void* from, int64_t from_pitch, int64_t rows,
                  int64_t row_bytes) {
  const Stream stream{device, copy_stream(device)};
  struct UnderWay {
    UnderWay(const Device& d, char* t, int64_t b) : block(d, b), to(t), bytes(b) {}
    PinnedBlock block;
    char* to;
    int64_t bytes;
  };
  std::deque<UnderWay> under_way;
  const auto finish_first = [&] {
    UnderWay& first = under_way.front();
    first.block.wait();
    std::memcpy(first.to, first.block.data(), static_cast<size_t>(first.bytes));
    under_way.pop_front();
  };
  for_pieces(row_bytes, from_pitch, rows, row_bytes, [&](const Piece& piece) {
    // Either one row's bytes, or whole rows: adjacent where they go.
    UnderWay& next = under_way.emplace_back(device, static_cast<char*>(to) + piece.row * row_bytes + piece.byte,
                                            piece.rows * piece.bytes);
    copy_rows(stream, next.block.data(), piece.bytes,
              static_cast<const char*>(from) + piece.row * from_pitch + piece.byte, from_pitch, piece.rows,
              piece.bytes);
    next.block.begun(stream_of(stream));
    if (under_way.size() == 2) finish_first();
  });
  while (!under_way.empty()) finish_first();
}

std::unique_ptr<HostCopyInFlight> begin_copy_to_host(Stream stream, const void* from, int64_t from_pitch, int64_t rows,
                                                     int64_t row_bytes) {
  struct InFlight : HostCopyInFlight {
    InFlight(const Device& device, int64_t bytes) : block(device, bytes) {}
    const void* wait() override {
      block.wait();
      return block.data();
    }
    PinnedBlock block;
  };
  auto copy = std::make_unique<InFlight>(stream.device, rows * row_bytes);
  copy_rows(stream, copy->block.data(), row_bytes, from, from_pitch, rows, row_bytes);
  copy->block.begun(stream_of(stream));
  return copy;
}

}  // namespace gta::cuda
