// Products of float64 matrices (core/gemm.h) are fast where their second factor lies as it is read.
#pragma once

#include "core/tensor.h"

namespace gta {

// float64 (rows, columns) on the host -> (columns, rows)
inline Tensor transposed(const Tensor& x) {
  const int64_t rows = x.rows(), columns = x.columns();
  const Tensor to = Tensor::empty({columns, rows}, DType::F64, x.device(), Purpose::Workspace);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to.data<double>()[c * rows + r] = x.data<double>()[r * x.pitch() + c];
  return to;
}

}  // namespace gta
