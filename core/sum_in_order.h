// What ranks add up: each part is a rank's, and the order is that of ranks, so that the bits of a sum depend on nothing
// else.
#pragma once

#include "core/device.h"
#include "core/dtype.h"

namespace gta {

// sum[i] = parts[0][i] + parts[1][i] + ..., rounded after each, for i < count; parts (ranks x count), sum beside them.
// float32 and float64.
GTA_KERNEL(void sum_in_order(Stream stream, DType dtype, const void* parts, int64_t ranks, int64_t count, void* sum))

}  // namespace gta
