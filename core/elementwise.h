// Element by element, whole tensors of any pitch.
#pragma once

#include "core/tensor.h"

namespace gta {

// to += from, rounded to the dtype of `to`: where the gradients of two branches meet.
GTA_KERNEL(void add_into(const Tensor& to, const Tensor& from))
// to -= from, rounded to the dtype of `to`.
GTA_KERNEL(void subtract_from(const Tensor& to, const Tensor& from))
// to = from, rounded to the dtype of `to`.
GTA_KERNEL(void convert(const Tensor& to, const Tensor& from))

}  // namespace gta
