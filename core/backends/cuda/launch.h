// What every .cu file starts from: launching a kernel, shared memory, device types. The same text is compiled by nvcc
// for GPUs and by the host compiler for tests/host_cuda, which runs the kernels on the CPU; only this file and ptx.h
// know that there are two.
//
// Rules for kernels (docs/cuda.md says why):
//   Launch through GTA_LAUNCH alone. PTX in ptx.h alone. Shared memory through GTA_SHARED_ARRAY and dynamic_shared
//   alone. Full warp masks; no exit before a barrier; no waiting for other blocks; no floating-point atomics; a stream
//   with a name.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "core/backends/cuda/runtime.h"
#include "core/tensor.h"

namespace gta::cuda {

// kernel<<<grid, block, shared, stream>>>(arguments...). More than 48 KiB of dynamic shared memory is asked for at the
// first launch.
template <class... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            std::type_identity_t<Parameters>... arguments) {
  if (shared > 48 * 1024)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared)),
          name);
#ifdef GTA_HOST_CUDA
  check(host_cuda::launch(name, kernel, grid, block, shared, stream, arguments...), name);
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
#endif
}
#define GTA_LAUNCH(kernel, ...) ::gta::cuda::launch(#kernel, kernel, __VA_ARGS__)

// GTA_SHARED_ARRAY(float, tile, [64][72]);   static shared memory of a block, not initialised
#ifdef GTA_HOST_CUDA
#define GTA_SHARED_ARRAY(T, name, dims)                       \
  typedef T name##_array_type dims;                           \
  static const char name##_array_tag = 0;                     \
  name##_array_type& name = *static_cast<name##_array_type*>( \
      host_cuda::static_shared(&name##_array_tag, sizeof(name##_array_type), alignof(name##_array_type)))
#else
#define GTA_SHARED_ARRAY(T, name, dims) __shared__ T name dims
#endif

// The dynamic shared memory of a block: `shared` bytes of the launch, 1024-byte aligned.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef GTA_HOST_CUDA
  return static_cast<T*>(host_cuda::dynamic_shared());
#else
  extern __shared__ __align__(1024) unsigned char gta_dynamic_shared[];
  return reinterpret_cast<T*>(gta_dynamic_shared);
#endif
}

// First element as the device's own type. T: float, __nv_bfloat16 or int32_t. Error when it is not the tensor's dtype.
template <class T>
T* device_data(const Tensor& tensor) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return reinterpret_cast<__nv_bfloat16*>(tensor.data<bfloat16>());
  else
    return tensor.data<T>();
}

// Calls f with a value of the device type behind a dtype: float or __nv_bfloat16. float64 is for tests on the CPU.
template <class F>
auto dispatch_device(DType dtype, const char* where, F&& f) {
  switch (dtype) {
    case DType::F32:
      return f(float{});
    case DType::BF16:
      return f(__nv_bfloat16{});
    default:
      bad_input(where, "has no CUDA kernel for {}: use float32 or bfloat16", name_of(dtype));
  }
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void store(float& to, float x) { to = x; }
__device__ __forceinline__ void store(__nv_bfloat16& to, float x) { to = __float2bfloat16_rn(x); }

// Over groups of neighbouring lanes of a warp, in a fixed order; every lane gets its group's.
template <int lanes = 32>
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int distance = lanes / 2; distance > 0; distance >>= 1) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}
template <int lanes = 32>
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int distance = lanes / 2; distance > 0; distance >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace gta::cuda
