// Functions of kernels that accept a relative error of some 2^-21, the same text for both compilers.
#pragma once

#include "core/backends/cuda/ptx.h"

namespace gta::cuda {

// e^x; the error grows with |x|, by 2^-24 |x|.
__device__ __forceinline__ float fast_exp(float x) { return ptx::exp2_approx(x * 1.44269504088896341f); }
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

}  // namespace gta::cuda
