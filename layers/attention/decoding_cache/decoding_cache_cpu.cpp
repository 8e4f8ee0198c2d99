#include <algorithm>

#include "core/parallel.h"
#include "layers/attention/decoding_cache/decoding_cache.h"

namespace gta::cpu {

void write_rows(const Tensor& to, const Tensor& rows, const Tensor& from) {
  dispatch_floating(to.dtype(), "write_rows", [&](auto zero) {
    using T = decltype(zero);
    const int32_t* const row = rows.data<int32_t>();
    const T* const source = from.template data<T>();
    T* const target = to.template data<T>();
    parallel_ranges(from.rows(), 64, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r)
        std::copy_n(source + r * from.pitch(), from.columns(), target + row[r] * to.pitch());
    });
  });
}

}  // namespace gta::cpu
