#include <algorithm>

#include "core/parallel.h"
#include "layers/linear/linear.h"

namespace gta::cpu {

void sum_rows(const Tensor& d_y, const Tensor& d_bias, GradientMode mode) {
  if (mode == GradientMode::Overwrite) d_bias.fill_zero();
  dispatch_floating(d_y.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const T* const dy = d_y.template data<T>();
    C* const db = d_bias.template data<C>();
    // Each strip of columns is summed over all rows by one thread, so the order is fixed.
    parallel_ranges(d_y.columns(), 64, [&](int64_t first, int64_t last) {
      C sums[64] = {};
      const int64_t width = last - first;
      for (int64_t r = 0; r < d_y.rows(); ++r) {
        const T* const row = dy + r * d_y.pitch() + first;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) sums[c] += row[c];
      }
      for (int64_t c = 0; c < width; ++c) db[first + c] += sums[c];
    });
  });
}

}  // namespace gta::cpu
