#include <algorithm>

#include "core/parallel.h"
#include "layers/attention/latent_heads/latent_heads.h"

namespace gta::cpu {
namespace {

constexpr int64_t kRowGrain = 32;

template <class T>
T* row_of(const Tensor& tensor, int64_t row) {
  return tensor.template data<T>() + row * tensor.pitch();
}

template <class T>
void put(T* to, const T* from, int64_t count, GradientMode mode) {
  if (mode == GradientMode::Overwrite) {
    std::copy_n(from, count, to);
    return;
  }
#pragma omp simd
  for (int64_t c = 0; c < count; ++c) store(to[c], to[c] + from[c]);
}

}  // namespace

void latent_heads_join(const LatentHeadSizes& s, const Tensor& kv, const Tensor& k_rope, const Tensor& k,
                       const Tensor& v) {
  dispatch_floating(kv.dtype(), "latent_heads", [&](auto zero) {
    using T = decltype(zero);
    parallel_ranges(kv.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t)
        for (int64_t h = 0; h < s.heads; ++h) {
          const T* const from = row_of<T>(kv, t) + h * (s.nope_dim + s.value_dim);
          T* const key = row_of<T>(k, t) + h * (s.nope_dim + s.rope_dim);
          std::copy_n(from, s.nope_dim, key);
          std::copy_n(row_of<T>(k_rope, t), s.rope_dim, key + s.nope_dim);
          std::copy_n(from + s.nope_dim, s.value_dim, row_of<T>(v, t) + h * s.value_dim);
        }
    });
  });
}

void latent_heads_split(const LatentHeadsBackward& b) {
  const LatentHeadSizes& s = b.sizes;
  const Tensor& like = b.d_k.defined() ? b.d_k : b.d_v;
  const int64_t key_width = s.nope_dim + s.rope_dim;
  dispatch_floating(like.dtype(), "latent_heads", [&](auto zero) {
    using T = decltype(zero);
    parallel_ranges(like.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        for (int64_t h = 0; b.d_kv.defined() && h < s.heads; ++h) {
          T* const to = row_of<T>(b.d_kv, t) + h * (s.nope_dim + s.value_dim);
          if (b.d_k.defined()) put(to, row_of<T>(b.d_k, t) + h * key_width, s.nope_dim, b.mode_kv);
          if (b.d_v.defined()) put(to + s.nope_dim, row_of<T>(b.d_v, t) + h * s.value_dim, s.value_dim, b.mode_kv);
        }
        if (!b.d_k_rope.defined() || !b.d_k.defined()) continue;
        T* const to = row_of<T>(b.d_k_rope, t);
        const T* const tail = row_of<T>(b.d_k, t) + s.nope_dim;
        for (int64_t c = 0; c < s.rope_dim; ++c) {
          compute_type<T> sum = 0;
          for (int64_t h = 0; h < s.heads; ++h) sum += tail[h * key_width + c];
          store(to[c], b.mode_k_rope == GradientMode::Accumulate ? to[c] + sum : sum);
        }
      }
    });
  });
}

}  // namespace gta::cpu
