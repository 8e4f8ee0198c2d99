// Runs a grid on the CPU: every thread a fiber, a warp's operation done by the last of its lanes to arrive. What
// host_cuda.h's built-ins call.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>

extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace host_cuda {

// Where in a kernel's source an operation stands.
struct Where {
  const char* file;
  int line;
};

// Says what is wrong, in which kernel, block and thread, and with which options; ends the process with code 99.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

// ---- a grid (engine.cpp)
void run_grid(const char* name, dim3 grid, dim3 block, size_t shared, const std::function<void()>& body);
bool in_kernel();
// On stderr: the kernel, block and thread, where it is in one, and the options.
void say_where();

// ---- what a thread of a kernel may do
int lane();
void* dynamic_shared();
void* static_shared(const void* tag, size_t bytes, size_t alignment);
// Fails unless the bytes lie in one array of this block's shared memory, or in its dynamic part, and begin at a
// multiple of their number.
void check_shared(const void* p, int bytes, const char* what, Where where);

enum class Reduction { None, Add, Max, Min, And, Or };
int barrier(Reduction reduction, int predicate, Where where);

// All lanes of the mask meet, and the last to come does the operation for all: operands[lane] is what each brought. One
// that orders memory is a fence between them; a shuffle is none.
using LaneFunction = void (*)(void* const operands[32], unsigned mask);
void warp_operation(unsigned mask, LaneFunction function, void* operand, bool orders_memory, const char* what,
                    Where where);

struct AsyncCopy {
  void* to;
  const void* from;
  int size, bytes;  // of `size` bytes that are written, `bytes` are read, the rest becomes zero
  Where where;
};
void cp_async_begin(const AsyncCopy& copy);
void cp_async_commit();
// The next copy that has to be made before at most `left` groups are under way.
bool cp_async_next(int left, AsyncCopy& copy);

// ---- operations of a warp (lanes.cpp); never instrumented, since a shuffle is no fence
struct ShuffleLane {
  uint64_t in, out;
  int source;
};
struct VoteLane {
  int predicate;
  unsigned out;
};
struct ReduceLane {
  int64_t in, out;  // int and unsigned alike
  Reduction reduction;
};
struct LdmatrixLane {
  struct Row {
    uint32_t word[4];
  } row;
  uint32_t out[4];
};
struct MmaLane {
  float d[4];
  uint32_t a[4], b[2];
};
void meet_lanes(void* const*, unsigned);
void shuffle_lanes(void* const*, unsigned);
void vote_lanes(void* const*, unsigned);
void reduce_lanes(void* const*, unsigned);
void ldmatrix_lanes(void* const*, unsigned);
void ldmatrix_transposed_lanes(void* const*, unsigned);
void mma_m16n8k16_lanes(void* const*, unsigned);

// ---- streams (runtime.cpp)
cudaError_t enqueue_kernel(const char* name, const void* kernel, dim3 grid, dim3 block, size_t shared,
                           cudaStream_t stream, std::function<void()> body);
// Other work of a stream: a product of cuBLASLt.
void enqueue(cudaStream_t stream, const char* what, std::function<void()> work);
// What waits for other devices: `advance` is called again and again when the stream has come to it, until it is done
// and returns true.
void enqueue_in_steps(cudaStream_t stream, const char* what, std::function<bool()> advance);
// As a device does without being asked: runs a little of what is queued. From a thread of its own.
void run_some();

}  // namespace host_cuda
