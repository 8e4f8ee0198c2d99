// One thread's bfloat16 product into float32: c (m, n) = op(a) op(b) (+ c).
#pragma once

#include "core/gemm.h"

namespace gta::cpu {

// With bfloat16 instructions by oneDNN, else through float32 copies of the operands.
void bfloat16_block_gemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k,
                         const bfloat16* a, int64_t pitch_a, const bfloat16* b, int64_t pitch_b, float* c,
                         int64_t pitch_c, GradientMode mode);

// For tests: false takes the way of CPUs without the instructions.
void use_bfloat16_instructions(bool use);

}  // namespace gta::cpu
