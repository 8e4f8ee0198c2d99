// The one matrix product:  C = op(A) op(B) (+ C),  op(X) = X or X^T.   A (m, k), B (k, n), C (m, n) after op; rows of any pitch.
//
// The bits of C depend on the shapes and the elements alone, not on the number of threads (docs/decisions.md says how).
#pragma once

#include "core/tensor.h"

namespace gta {

enum class Transpose : uint8_t { No, Yes };
enum class GradientMode : uint8_t { Ignore, Overwrite, Accumulate };

struct Gemm {
  Tensor a;
  Transpose transpose_a = Transpose::No;
  Tensor b;
  Transpose transpose_b = Transpose::No;
  Tensor c;
  GradientMode mode = GradientMode::Overwrite;  // Accumulate adds to C
};

// Error when shapes, dtypes or devices do not fit. Counts its FLOPs in the open profiler range.
void gemm(const Gemm& product);

GTA_KERNEL(void gemm_kernel(const Gemm& product, int64_t m, int64_t n, int64_t k))

namespace cpu {
// One thread's product of blocks inside a kernel's own parallel loop, row-major: c (m, n) = op(a) op(b) (+ c).
template <class T>
void block_gemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t pitch_a, const T* b,
                int64_t pitch_b, T* c, int64_t pitch_c, GradientMode mode);
}  // namespace cpu

}  // namespace gta
