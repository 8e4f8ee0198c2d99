// The one matrix product:  C = op(A) op(B) (+ C) (+ bias),  op(X) = X or X^T.
// A (m, k), B (k, n), C (m, n) after op, bias (n) added to every row; rows of any pitch.
//
// A and B have one dtype, C the same; of bfloat16 operands C may also be float32 (weight gradients, logits). Sums are
// float32 there, and C is rounded once. The bias is float32 beside bfloat16. CPUs without bfloat16 products convert to
// float32 and work in that.
//
// The bits of C depend on the shapes and the elements alone, not on the number of threads (docs/decisions.md says how).
#pragma once

#include <string>

#include "core/tensor.h"

namespace gta {

// What products on a GPU hold beside their operands, from the first one on: NVIDIA's recommendation for Hopper.
inline constexpr int64_t kCudaGemmWorkspaceBytes = int64_t{32} << 20;

enum class Transpose : uint8_t { No, Yes };
enum class GradientMode : uint8_t { Ignore, Overwrite, Accumulate };

struct Gemm {
  Tensor a;
  Transpose transpose_a = Transpose::No;
  Tensor b;
  Transpose transpose_b = Transpose::No;
  Tensor c;
  GradientMode mode = GradientMode::Overwrite;  // Accumulate adds to C
  Tensor bias = {};                             // undefined: none
};

// Error when shapes, dtypes or devices do not fit. Counts its FLOPs in the open profiler range.
void gemm(const Gemm& product);

GTA_KERNEL(void gemm_kernel(const Gemm& product, int64_t m, int64_t n, int64_t k))
// Which library makes them, with its version: another one may sum in another order.
GTA_KERNEL(std::string product_library())

namespace cpu {
// Whether this CPU multiplies bfloat16 in hardware.
bool has_bfloat16_products();
// Error(Failed) unless products are right, and the same bits by one thread and by all at once. Takes milliseconds; made
// before a model is used, since a library that is mistaken about its threads gives wrong numbers without a word.
void check_products();
// One thread's product of blocks, also inside a kernel's own parallel loop, row-major: c (m, n) = op(a) op(b) (+ c). T
// is float or double.
template <class T>
void block_gemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const T* a,
                int64_t pitch_a, const T* b, int64_t pitch_b, T* c, int64_t pitch_c, GradientMode mode);
}  // namespace cpu

}  // namespace gta
