// What this machine's products reach: the denominator of SOL. Measured on random data, never zeros, in about a quarter of a second.
#pragma once

#include "core/device.h"
#include "core/dtype.h"

namespace gta {

double measure_peak_flops(DType dtype, Device device);  // FLOP/s

}  // namespace gta
