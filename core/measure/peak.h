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
// Reads these contiguous tensors, each from its first number to its last: to be timed. On a CPU that may be slower than
// what a copy reads and writes in the same time.
void read_all(std::span<const Tensor> tensors);

}  // namespace gta
