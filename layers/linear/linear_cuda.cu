#include "core/backends/cuda/column_sums.h"
#include "layers/linear/linear.h"

namespace gta::cuda {
namespace {

template <class T>
struct RowTerm {
  Rows<const T> d_y;
  template <int n>
  __device__ __forceinline__ void add(int64_t row, int64_t column, float (&sum)[n]) const {
    float d[n];
    load_vector(d, d_y.at(row, column));
#pragma unroll
    for (int i = 0; i < n; ++i) sum[i] += d[i];
  }
};

}  // namespace

void sum_rows(const Tensor& d_y, const Tensor& d_bias, GradientMode mode) {
  dispatch_device(d_y.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({d_y.columns()}, {&d_y}, [&](auto n) {
      column_sums<n>(RowTerm<T>{rows_of<const T>(d_y)}, d_y.rows(), d_bias, mode);
    });
  });
}

}  // namespace gta::cuda
