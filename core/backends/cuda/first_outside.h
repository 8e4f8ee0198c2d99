#pragma once

#include <optional>

#include "core/tensor.h"

namespace gta::cuda {

// Where the first of the int32 values is that is neither `allowed` nor in [0, limit). Waits for the device's stream.
std::optional<int64_t> first_outside(const Tensor& values, int64_t limit, int32_t allowed);

}  // namespace gta::cuda
