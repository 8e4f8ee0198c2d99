// CUDA C++ for the host compiler: included before everything else in a .cu file (g++ -include host_cuda.h -x c++
// file.cu), it defines the device's built-ins over engine.h. A test tool: what it computes says nothing about a GPU's
// speed, and nothing it shows is a GPU's result.
#pragma once
#ifdef __CUDACC__
#error "host_cuda.h is for the host compiler; nvcc needs none of it"
#endif
#define GTA_HOST_CUDA 1
// Before any CUDA header, which keeps a definition that is there. A plain __shared__ works, but no sanitizer sees an
// access beside it.
#define __shared__ static thread_local
#define __launch_bounds__(...)

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "tests/host_cuda/engine.h"

#define HOST_CUDA_HERE host_cuda::Where host_cuda_here = {__builtin_FILE(), __builtin_LINE()}

namespace host_cuda {

// kernel(arguments...) for every thread of the grid, when the stream gets there. Arguments are copied now, as CUDA
// does.
template <class... Parameters>
cudaError_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                   cudaStream_t stream, std::type_identity_t<Parameters>... arguments) {
  return enqueue_kernel(name, reinterpret_cast<const void*>(kernel), grid, block, shared, stream,
                        [=] { kernel(arguments...); });
}

template <class T>
T shuffle(unsigned mask, T value, int source, const char* what, Where where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  ShuffleLane lane{};
  std::memcpy(&lane.in, &value, sizeof(T));
  lane.source = source;
  warp_operation(mask, shuffle_lanes, &lane, false, what, where);
  std::memcpy(static_cast<void*>(&value), &lane.out, sizeof(T));
  return value;
}
inline unsigned vote(unsigned mask, int predicate, const char* what, Where where) {
  VoteLane lane{predicate, 0};
  warp_operation(mask, vote_lanes, &lane, false, what, where);
  return lane.out;
}
template <class T>
T reduce(unsigned mask, T value, Reduction reduction, const char* what, Where where) {
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>);
  ReduceLane lane{value, 0, reduction};
  warp_operation(mask, reduce_lanes, &lane, false, what, where);
  return static_cast<T>(lane.out);
}

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where where) {
  MmaLane lane;
  std::memcpy(lane.d, d, sizeof d);
  std::memcpy(lane.a, a, sizeof a);
  std::memcpy(lane.b, b, sizeof b);
  warp_operation(~0u, mma_m16n8k16_lanes, &lane, false, "mma.sync", where);
  std::memcpy(d, lane.d, sizeof d);
}
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, bool transposed, Where where) {
  check_shared(row, 16, "ldmatrix", where);
  LdmatrixLane lane;
  lane.row = *static_cast<const LdmatrixLane::Row*>(row);  // read by this lane's thread, so that a sanitizer sees it
  warp_operation(~0u, transposed ? ldmatrix_transposed_lanes : ldmatrix_lanes, &lane, false,
                 transposed ? "ldmatrix.trans" : "ldmatrix", where);
  std::memcpy(r, lane.out, sizeof r);
}
// The copy is made only when it is waited for; until then its destination holds NaN, written by the thread itself, so
// that a sanitizer sees it.
inline void cp_async(void* to, const void* from, int size, int bytes, Where where) {
  check_shared(to, size, "cp.async", where);
  if (reinterpret_cast<uintptr_t>(from) % static_cast<unsigned>(size) != 0)
    fail("cp.async at %s:%d: its source %p is misaligned: expected a multiple of %d", where.file, where.line, from,
         size);
  if (bytes < 0 || bytes > size)
    fail("cp.async at %s:%d: expected to read 0 to %d bytes, got %d", where.file, where.line, size, bytes);
  for (int i = 0; i < size; ++i) static_cast<unsigned char*>(to)[i] = 0xff;
  cp_async_begin({to, from, size, bytes, where});
}
inline void cp_async_wait(int left) {
  AsyncCopy copy;
  while (cp_async_next(left, copy)) {
    auto* const to = static_cast<unsigned char*>(copy.to);
    const auto* const from = static_cast<const unsigned char*>(copy.from);
    for (int i = 0; i < copy.size; ++i) to[i] = i < copy.bytes ? from[i] : 0;
  }
}

template <class T, class F>
T atomic_update(T* p, F&& f) {
  std::atomic_ref<T> there(*p);
  T old = there.load(std::memory_order_relaxed);
  while (!there.compare_exchange_weak(old, f(old), std::memory_order_relaxed)) {
  }
  return old;
}

}  // namespace host_cuda

// ---- barriers and warps
inline void __syncthreads(HOST_CUDA_HERE) { host_cuda::barrier(host_cuda::Reduction::None, 0, host_cuda_here); }
inline int __syncthreads_or(int predicate, HOST_CUDA_HERE) {
  return host_cuda::barrier(host_cuda::Reduction::Or, predicate, host_cuda_here);
}
inline int __syncthreads_and(int predicate, HOST_CUDA_HERE) {
  return host_cuda::barrier(host_cuda::Reduction::And, predicate, host_cuda_here);
}
inline int __syncthreads_count(int predicate, HOST_CUDA_HERE) {
  return host_cuda::barrier(host_cuda::Reduction::Add, predicate, host_cuda_here);
}
inline void __syncwarp(unsigned mask = ~0u, HOST_CUDA_HERE) {
  host_cuda::warp_operation(mask, host_cuda::meet_lanes, nullptr, true, "__syncwarp", host_cuda_here);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, HOST_CUDA_HERE) {
  const int lane = host_cuda::lane();
  return host_cuda::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", host_cuda_here);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, HOST_CUDA_HERE) {
  const int lane = host_cuda::lane(), source = lane ^ bits;
  return host_cuda::shuffle(mask, value, source < (lane & ~(width - 1)) + width ? source : lane, "__shfl_xor_sync",
                            host_cuda_here);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, HOST_CUDA_HERE) {
  const int lane = host_cuda::lane(), source = lane - static_cast<int>(distance);
  return host_cuda::shuffle(mask, value, source >= (lane & ~(width - 1)) ? source : lane, "__shfl_up_sync",
                            host_cuda_here);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, HOST_CUDA_HERE) {
  const int lane = host_cuda::lane(), source = lane + static_cast<int>(distance);
  return host_cuda::shuffle(mask, value, source < (lane & ~(width - 1)) + width ? source : lane, "__shfl_down_sync",
                            host_cuda_here);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, HOST_CUDA_HERE) {
  return host_cuda::vote(mask, predicate, "__ballot_sync", host_cuda_here);
}
inline int __any_sync(unsigned mask, int predicate, HOST_CUDA_HERE) {
  return host_cuda::vote(mask, predicate, "__any_sync", host_cuda_here) != 0;
}
inline int __all_sync(unsigned mask, int predicate, HOST_CUDA_HERE) {
  return host_cuda::vote(mask, predicate, "__all_sync", host_cuda_here) == mask;
}
template <class T>
T __reduce_add_sync(unsigned mask, T value, HOST_CUDA_HERE) {
  return host_cuda::reduce(mask, value, host_cuda::Reduction::Add, "__reduce_add_sync", host_cuda_here);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, HOST_CUDA_HERE) {
  return host_cuda::reduce(mask, value, host_cuda::Reduction::Max, "__reduce_max_sync", host_cuda_here);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, HOST_CUDA_HERE) {
  return host_cuda::reduce(mask, value, host_cuda::Reduction::Min, "__reduce_min_sync", host_cuda_here);
}
[[noreturn]] inline unsigned __activemask() {
  host_cuda::fail("__activemask: its result is not specified; use full masks");
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
[[noreturn]] inline void __trap() { host_cuda::fail("__trap"); }

// ---- atomics: relaxed, as on the device; blocks may run on several of the host's threads
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [x](T old) { return static_cast<T>(old + x); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [x](T old) { return old > x ? old : x; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [x](T old) { return old < x ? old : x; });
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [x](T old) { return static_cast<T>(old | x); });
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [x](T old) { return static_cast<T>(old & x); });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [=](T old) { return old == expected ? x : old; });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> x) {
  return host_cuda::atomic_update(p, [x](T) { return x; });
}

// ---- loads and stores with hints, bits, mathematics
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, std::type_identity_t<T> x) {
  *p = x;
}
template <class T>
void __stcg(T* p, std::type_identity_t<T> x) {
  *p = x;
}
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x ? std::countr_zero(static_cast<unsigned>(x)) + 1 : 0; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __saturatef(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
// One rounding, as on the device: products of bfloat16 and their sums with a third are exact in double, but for what a
// bfloat16 cannot show.
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  return __double2bfloat16(static_cast<double>(__bfloat162float(a)) * __bfloat162float(b) + __bfloat162float(c));
}
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
// The C library's headers declare these names, its library has none of them.
#define __expf(x) expf(x)
#define __exp2f(x) exp2f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
using std::max;
using std::min;
