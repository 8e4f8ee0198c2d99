#include "core/elementwise.h"

#include "core/parallel.h"

namespace gta::cpu {

void add_into(const Tensor& to, const Tensor& from) {
  require(to.rows() == from.rows() && to.columns() == from.columns(), "add_into", "cannot add {} to {}", describe(from), describe(to));
  dispatch_floating(to.dtype(), "add_into", [&](auto zero) {
    using T = decltype(zero);
    T* const t = to.template data<T>();
    const T* const f = from.template data<T>();
    const int64_t columns = to.columns();
    parallel_ranges(to.rows(), 16384 / std::max<int64_t>(columns, 1), [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        T* const tr = t + r * to.pitch();
        const T* const fr = f + r * from.pitch();
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c) tr[c] += fr[c];
      }
    });
  });
}

}  // namespace gta::cpu
