#include "core/backends/cpu/few_rows_gemm.h"

#include <algorithm>
#include <vector>

#include "core/backends/cpu/dot.h"
#include "core/parallel.h"

namespace gta::cpu {
namespace {

constexpr int64_t kGrain = 16;  // rows of W of one work item: W's rows are long
constexpr int64_t kStrip = 64;  // columns of one work item where W is not transposed

// The rows of x, widened.
template <class T>
std::vector<compute_type<T>> wide_rows(const Gemm& g, int64_t m, int64_t k) {
  using C = compute_type<T>;
  std::vector<C> x(static_cast<size_t>(m * k));
  for (int64_t r = 0; r < m; ++r) {
    const T* const from = g.a.template data<T>() + r * g.a.pitch();
    for (int64_t p = 0; p < k; ++p) x[static_cast<size_t>(r * k + p)] = static_cast<C>(from[p]);
  }
  return x;
}

// T: x and W; Y: y.
template <class T, class Y>
void multiply_transposed(const Gemm& g, int64_t m, int64_t n, int64_t k) {
  using C = compute_type<T>;
  const std::vector<C> x = wide_rows<T>(g, m, k);
  const T* const w = g.b.template data<T>();
  const C* const bias = g.bias.defined() ? g.bias.template data<C>() : nullptr;
  parallel_ranges(n, kGrain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t r = 0; r < m; ++r)
        store(g.c.template data<Y>()[r * g.c.pitch() + i],
              dot(x.data() + r * k, w + i * g.b.pitch(), k) + (bias ? bias[i] : C{0}));
  });
}

// y = sum over p of x_p W_p, in strips of columns.
template <class T, class Y>
void multiply_plain(const Gemm& g, int64_t m, int64_t n, int64_t k) {
  using C = compute_type<T>;
  const std::vector<C> x = wide_rows<T>(g, m, k);
  const C* const bias = g.bias.defined() ? g.bias.template data<C>() : nullptr;
  parallel_ranges(n, kStrip, [&](int64_t first, int64_t last) {
    const int64_t width = last - first;
    for (int64_t r = 0; r < m; ++r) {
      C sums[kStrip] = {};
      for (int64_t p = 0; p < k; ++p) {
        const T* const w = g.b.template data<T>() + p * g.b.pitch() + first;
        const C factor = x[static_cast<size_t>(r * k + p)];
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) sums[j] += factor * static_cast<C>(w[j]);
      }
      Y* const y = g.c.template data<Y>() + r * g.c.pitch() + first;
      for (int64_t j = 0; j < width; ++j) store(y[j], sums[j] + (bias ? bias[first + j] : C{0}));
    }
  });
}

template <class T, class Y>
void multiply(const Gemm& g, int64_t m, int64_t n, int64_t k) {
  if (g.transpose_b == Transpose::Yes)
    multiply_transposed<T, Y>(g, m, n, k);
  else
    multiply_plain<T, Y>(g, m, n, k);
}

}  // namespace

bool few_rows_gemm(const Gemm& g, int64_t m, int64_t n, int64_t k) {
  if (m > kFewRows || g.transpose_a != Transpose::No || g.mode != GradientMode::Overwrite) return false;
  dispatch_floating(g.a.dtype(), "gemm", [&](auto zero) {
    using T = decltype(zero);
    if (g.c.dtype() == g.a.dtype())
      multiply<T, T>(g, m, n, k);
    else
      multiply<T, compute_type<T>>(g, m, n, k);
  });
  return true;
}

}  // namespace gta::cpu
