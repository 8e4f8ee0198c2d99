// What norms are made of.
#pragma once

#include "core/gemm.h"

namespace gta {

// total (1) = or += sum of squares, float64, in fixed blocks: the same bits for any number of threads. NaN or infinite
// when an element is.
GTA_KERNEL(void sum_of_squares(const Tensor& flat, const Tensor& total, GradientMode mode))

}  // namespace gta
