#include <algorithm>
#include <numeric>

#include "core/parallel.h"
#include "layers/embedding/embedding.h"

namespace gta::cpu {

void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& y) {
  dispatch_floating(y.dtype(), "embedding", [&](auto zero) {
    using T = decltype(zero);
    const int32_t* const t = tokens.data<int32_t>();
    const T* const w = weight.template data<T>();
    T* const out = y.template data<T>();
    parallel_ranges(y.rows(), 64, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) std::copy_n(w + t[i] * weight.pitch(), y.columns(), out + i * y.pitch());
    });
  });
}

void embedding_backward(const Tensor& tokens, const Tensor& d_y, const Tensor& d_weight, GradientMode mode) {
  if (mode == GradientMode::Overwrite) d_weight.fill_zero();
  const int32_t* const t = tokens.data<int32_t>();
  std::vector<int64_t> order(tokens.elements());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return t[a] < t[b]; });
  std::vector<int64_t> starts;  // first position in order of each distinct token
  for (size_t i = 0; i < order.size(); ++i)
    if (i == 0 || t[order[i]] != t[order[i - 1]]) starts.push_back(static_cast<int64_t>(i));
  starts.push_back(static_cast<int64_t>(order.size()));
  dispatch_floating(d_y.dtype(), "embedding", [&](auto zero) {
    using T = decltype(zero);
    const T* const dy = d_y.template data<T>();
    auto* const dw = d_weight.template data<compute_type<T>>();
    const int64_t columns = d_y.columns();
    parallel_ranges(static_cast<int64_t>(starts.size()) - 1, 16, [&](int64_t first, int64_t last) {
      for (int64_t s = first; s < last; ++s) {
        auto* const row = dw + t[order[starts[s]]] * d_weight.pitch();
        for (int64_t i = starts[s]; i < starts[s + 1]; ++i) {
          const T* const from = dy + order[i] * d_y.pitch();
#pragma omp simd
          for (int64_t c = 0; c < columns; ++c) row[c] += from[c];
        }
      }
    });
  });
}

}  // namespace gta::cpu
