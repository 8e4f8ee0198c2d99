// A matrix in signed bytes, row by row: w_rc = d_r q_rc with d_r = max over c of |w_rc| / 127. For decoding on a CPU,
// whose time is that of reading weights: a quarter of float32's bytes. Sums are float32.
#pragma once

#include "core/tensor.h"

namespace gta {

class Int8Matrix {
 public:
  explicit Int8Matrix(const Tensor& matrix);  // float32 or bfloat16 (rows, columns), on the CPU

  int64_t rows() const { return values_.rows(); }
  int64_t columns() const { return values_.columns(); }
  int64_t bytes() const;
  const int8_t* row(int64_t r) const {
    return reinterpret_cast<const int8_t*>(values_.data<uint8_t>()) + r * columns();
  }
  float scale(int64_t r) const { return scales_.data<float>()[r]; }

 private:
  Tensor values_;  // uint8 (rows, columns): the bytes of q
  Tensor scales_;  // float32 (rows)
};

// y = x W^T + b:  x (m, columns) and y (m, rows) of one dtype, float32 or bfloat16; b float32 (rows) or undefined.
// A row of y has the same bits whatever other rows are among few (backends/cpu/few_rows_gemm.h).
void multiply(const Tensor& x, const Int8Matrix& w, const Tensor& bias, const Tensor& y);

}  // namespace gta
