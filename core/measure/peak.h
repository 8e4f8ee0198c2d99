// What this machine reaches: the denominators of SOL and of a kernel's share of its limit. Measured on random data,
// never zeros, in about a quarter of a second each.
#pragma once

#include "core/device.h"
#include "core/dtype.h"

namespace gta {

double measure_peak_flops(DType dtype, Device device);  // FLOP/s of a large product
double measure_copy_bandwidth(Device device);           // bytes/s read and written by a copy that no cache holds

}  // namespace gta
