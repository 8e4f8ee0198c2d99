#include <algorithm>

#include "core/dtype_pair.h"
#include "core/parallel.h"
#include "layers/attention/decoding_cache/decoding_cache.h"

namespace gta::cpu {

void write_rows(const Tensor& to, const Tensor& rows, const Tensor& from) {
  dispatch_pair(to.dtype(), from.dtype(), "write_rows", [&](auto to_zero, auto from_zero) {
    using To = decltype(to_zero);
    using From = decltype(from_zero);
    const int32_t* const row = rows.data<int32_t>();
    const From* const source = from.template data<From>();
    To* const target = to.template data<To>();
    parallel_ranges(from.rows(), 64, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const From* const s = source + r * from.pitch();
        To* const t = target + row[r] * to.pitch();
        if constexpr (std::is_same_v<To, From>) {
          std::copy_n(s, from.columns(), t);
        } else {
#pragma omp simd
          for (int64_t c = 0; c < from.columns(); ++c) store(t[c], s[c]);
        }
      }
    });
  });
}

}  // namespace gta::cpu
