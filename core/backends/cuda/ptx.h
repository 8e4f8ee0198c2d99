// Every inline PTX of the framework, each with its definition for tests/host_cuda beside it. Fragment layouts are those
// of the PTX ISA: lane = 4 * g + t of a warp holds, with g in 0..7 and t in 0..3,
//   A (16, 16) row-major  a[0]: (g, 2t..2t+1)  a[1]: (g+8, 2t..)  a[2]: (g, 2t+8..)  a[3]: (g+8, 2t+8..)
//                         two bfloat16 a register
//   B (16, 8) col-major   b[0]: (2t..2t+1, g)  b[1]: (2t+8.., g)
//   D (16, 8)             d[0], d[1]: (g, 2t..2t+1)   d[2], d[3]: (g+8, 2t..2t+1)                             float32
#pragma once

#include "core/backends/cuda/launch.h"

#ifdef GTA_HOST_CUDA
#define GTA_PTX_HERE , HOST_CUDA_HERE
#else
#define GTA_PTX_HERE
#endif

namespace gta::cuda::ptx {

// D (16, 8) += A (16, 16) B (16, 8), bfloat16 into float32.
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2] GTA_PTX_HERE) {
#ifdef GTA_HOST_CUDA
  host_cuda::mma_m16n8k16(d, a, b, host_cuda_here);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four 8 x 8 matrices of 16-bit elements from shared memory; lane l gives the address of row l % 8 of matrix l / 8,
// 16-byte aligned. Register i of lane 4g + t gets elements (g, 2t..2t+1) of matrix i, or of its transpose.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row GTA_PTX_HERE) {
#ifdef GTA_HOST_CUDA
  host_cuda::ldmatrix_x4(r, row, false, host_cuda_here);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row GTA_PTX_HERE) {
#ifdef GTA_HOST_CUDA
  host_cuda::ldmatrix_x4(r, row, true, host_cuda_here);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// Starts a copy of 16 bytes from global to shared memory, both 16-byte aligned: `bytes` (0 to 16) are read, the rest
// becomes zero. It has arrived for the thread that started it after cp_async_wait, for others after a barrier that
// follows.
__device__ __forceinline__ void cp_async_16(void* to, const void* from, int bytes = 16 GTA_PTX_HERE) {
#ifdef GTA_HOST_CUDA
  host_cuda::cp_async(to, from, 16, bytes, host_cuda_here);
#else
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))),
      "l"(from), "r"(bytes)
      : "memory");
#endif
}
__device__ __forceinline__ void cp_async_commit() {
#ifdef GTA_HOST_CUDA
  host_cuda::cp_async_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}
// Until at most `left` of this thread's committed groups are under way.
template <int left>
__device__ __forceinline__ void cp_async_wait() {
#ifdef GTA_HOST_CUDA
  host_cuda::cp_async_wait(left);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(left) : "memory");
#endif
}

// 2^x, relative error about 2^-22; results below 2^-126 are zero.
__device__ __forceinline__ float exp2_approx(float x) {
#ifdef GTA_HOST_CUDA
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

}  // namespace gta::cuda::ptx
