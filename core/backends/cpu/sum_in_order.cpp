#include "core/sum_in_order.h"

#include <algorithm>

namespace gta::cpu {
namespace {

constexpr int64_t kSumBytes = 1 << 14;  // that are summed at once, so that they stay in the cache

}  // namespace

void sum_in_order(Stream, DType dtype, const void* parts, int64_t ranks, int64_t count, void* sum) {
  dispatch_state(dtype, "sum_in_order", [&](auto zero) {
    using T = decltype(zero);
    constexpr int64_t block = kSumBytes / static_cast<int64_t>(sizeof(T));
    const T* const from = static_cast<const T*>(parts);
    T* const to = static_cast<T*>(sum);
    for (int64_t first = 0; first < count; first += block) {
      const int64_t last = std::min(count, first + block);
      for (int64_t i = first; i < last; ++i) to[i] = from[i];
      for (int64_t r = 1; r < ranks; ++r)
        for (int64_t i = first; i < last; ++i) to[i] += from[r * count + i];
    }
  });
}

}  // namespace gta::cpu
