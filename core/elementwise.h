// to += from, element by element: where the gradients of two branches meet.
#pragma once

#include "core/tensor.h"

namespace gta {

GTA_KERNEL(void add_into(const Tensor& to, const Tensor& from))

}  // namespace gta
