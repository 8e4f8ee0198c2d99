// y = x W^T + b or x W + b of few rows x, as decoding makes them: the time is that of reading W, so W is read once for
// all rows, by every thread a part of it, and nothing is packed or converted before.
//
// A row of y has the same bits whatever other rows are in x.
#pragma once

#include "core/gemm.h"

namespace gta::cpu {

inline constexpr int64_t kFewRows = 8;

// Computes it and returns true where the product is such a one.
bool few_rows_gemm(const Gemm& product, int64_t m, int64_t n, int64_t k);

}  // namespace gta::cpu
