// Operands of benchmarks: random, since zeros cost some processors less.
#pragma once

#include <string_view>

#include "core/tensor.h"

namespace gta {

// Uniform in [-0.5, 0.5); the name picks the numbers.
Tensor random_tensor(std::string_view name, const Shape& shape, DType dtype, Device device);
// int32 in [0, below).
Tensor random_tokens(std::string_view name, const Shape& shape, int64_t below);

}  // namespace gta
