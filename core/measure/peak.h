// What this machine reaches: the denominators of SOL and of a kernel's share of its limit. Measured on random data,
// never zeros, in about a quarter of a second each.
#pragma once

#include <span>

#include "core/device.h"
#include "core/dtype.h"
#include "core/tensor.h"

namespace gta {

double measure_peak_flops(DType dtype, Device device);  // FLOP/s of a large product
double measure_copy_bandwidth(Device device);           // bytes/s read and written by a copy that no cache holds
// bytes/s of reading these contiguous tensors, which no cache holds, each from its first number to its last. On a CPU
// that may be less than what a copy reads and writes, and differs with where in memory their pages lie.
double measure_read_bandwidth(std::span<const Tensor> tensors);

}  // namespace gta
