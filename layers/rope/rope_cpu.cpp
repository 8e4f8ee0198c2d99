#include <algorithm>

#include "core/parallel.h"
#include "layers/rope/rope.h"

namespace gta::cpu {
namespace {

constexpr int64_t kRowGrain = 32;

template <class T>
void copy_plain(const T* from, T* to, int64_t count, GradientMode mode) {
  if (mode == GradientMode::Overwrite) {
    std::copy_n(from, count, to);
    return;
  }
#pragma omp simd
  for (int64_t c = 0; c < count; ++c) store(to[c], to[c] + from[c]);
}

template <class T, class C>
void rotate(const T* from, const C* cosine, const C* sine, C sign, T* to, int64_t half, GradientMode mode) {
  if (mode == GradientMode::Accumulate) {
#pragma omp simd
    for (int64_t j = 0; j < half; ++j) {
      const C low = from[j] * cosine[j] - from[j + half] * sign * sine[j],
              high = from[j + half] * cosine[j] + from[j] * sign * sine[j];
      store(to[j], to[j] + low);
      store(to[j + half], to[j + half] + high);
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < half; ++j) {
      const C low = from[j] * cosine[j] - from[j + half] * sign * sine[j],
              high = from[j + half] * cosine[j] + from[j] * sign * sine[j];
      store(to[j], low);
      store(to[j + half], high);
    }
  }
}

}  // namespace

void rope_kernel(const RopeHeads& heads, const RopePositions& positions, Rotation rotation, const Tensor& x,
                 const Tensor& y, GradientMode mode) {
  dispatch_floating(x.dtype(), "rope", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const Tensor& table = positions.table;
    const int32_t* const starts =
        positions.document_starts.defined() ? positions.document_starts.data<int32_t>() : nullptr;
    const int32_t* const given = positions.given.defined() ? positions.given.data<int32_t>() : nullptr;
    const C sign = rotation == Rotation::Forward ? C{1} : C{-1};
    parallel_ranges(x.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const int64_t position = given ? given[t] : t % positions.sequence - (starts ? starts[t] : 0);
        const C* const cosine = table.template data<C>() + position * table.pitch();
        for (int64_t h = 0; h < heads.heads; ++h) {
          const T* const from = x.template data<T>() + t * x.pitch() + h * heads.head_width();
          T* const to = y.template data<T>() + t * y.pitch() + h * heads.head_width();
          copy_plain(from, to, heads.plain_dim, mode);
          rotate(from + heads.plain_dim, cosine, cosine + heads.rope_dim / 2, sign, to + heads.plain_dim,
                 heads.rope_dim / 2, mode);
        }
      }
    });
  });
}

}  // namespace gta::cpu
