#include "core/backends/cuda/vectors.h"
#include "layers/attention/latent_heads/latent_heads.h"

namespace gta::cuda {
namespace {

struct Sizes {
  int heads, nope, rope, value;
};
Sizes sizes_of(const LatentHeadSizes& s) {
  return {static_cast<int>(s.heads), static_cast<int>(s.nope_dim), static_cast<int>(s.rope_dim),
          static_cast<int>(s.value_dim)};
}

// K_h = [kv_h[0 : nope), k_rope]        V_h = kv_h[nope : nope + value)
// An item is one vector of a head's key or value.
template <class T, int n>
__global__ void join_kernel(Sizes s, Rows<const T> kv, Rows<const T> k_rope, Rows<T> k, Rows<T> v, int64_t rows) {
  const int key = s.nope + s.rope, items = (key + s.value) / n;  // of a head
  for_items(rows, int64_t{s.heads} * items, [&](int64_t row, int64_t item) {
    const int head = static_cast<int>(item) / items, c = static_cast<int>(item) % items * n;
    const T* const from = kv.at(row, head * (s.nope + s.value));
    if (c < s.nope)
      copy_vector<n>(k.at(row, head * key + c), from + c);
    else if (c < key)
      copy_vector<n>(k.at(row, head * key + c), k_rope.at(row, c - s.nope));
    else
      copy_vector<n>(v.at(row, head * s.value + c - key), from + c - s.rope);
  });
}

template <class T>
struct Split {
  Sizes sizes;
  int64_t rows;
  Rows<const T> d_k, d_v;  // without data: nothing to add
  Rows<T> d_kv, d_k_rope;  // without data: not wanted
  bool accumulate_kv, accumulate_k_rope;
};

// dkv_h (+)= [dK_h[0 : nope), dV_h]        dk_rope (+)= sum over heads of dK_h[nope : nope + rope), head 0 first
// An item is one vector of a head of dkv, or, after these, of dk_rope.
template <class T, int n>
__global__ void split_heads(Split<T> b) {
  const Sizes& s = b.sizes;
  const int key = s.nope + s.rope, width = s.nope + s.value, items_of_kv = s.heads * width / n;
  for_items(b.rows, items_of_kv + s.rope / n, [&](int64_t row, int64_t item) {
    float values[n] = {};
    if (item < items_of_kv) {
      const int column = static_cast<int>(item) * n, head = column / width, c = column % width;
      const bool of_key = c < s.nope;
      if (!b.d_kv.data || !(of_key ? b.d_k.data : b.d_v.data)) return;
      load_vector(values, of_key ? b.d_k.at(row, head * key + c) : b.d_v.at(row, head * s.value + c - s.nope));
      write_vector(b.d_kv.at(row, column), values, b.accumulate_kv);
    } else {
      if (!b.d_k_rope.data || !b.d_k.data) return;
      const int c = static_cast<int>(item - items_of_kv) * n;
#pragma unroll 4
      for (int head = 0; head < s.heads; ++head) {
        float d[n];
        load_vector(d, b.d_k.at(row, head * key + s.nope + c));
#pragma unroll
        for (int i = 0; i < n; ++i) values[i] += d[i];
      }
      write_vector(b.d_k_rope.at(row, c), values, b.accumulate_k_rope);
    }
  });
}

}  // namespace

void latent_heads_join(const LatentHeadSizes& s, const Tensor& kv, const Tensor& k_rope, const Tensor& k,
                       const Tensor& v) {
  dispatch_device(kv.dtype(), "latent_heads", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({s.nope_dim, s.rope_dim, s.value_dim}, {&kv, &k_rope, &k, &v}, [&](auto n) {
      const Threads threads = threads_of(kv.rows(), s.heads * (s.nope_dim + s.rope_dim + s.value_dim) / n);
      GTA_LAUNCH((join_kernel<T, n>), threads.grid, threads.block, 0, stream_of(kv.device()), sizes_of(s),
                 rows_of<const T>(kv), rows_of<const T>(k_rope), rows_of<T>(k), rows_of<T>(v), kv.rows());
    });
  });
}

void latent_heads_split(const LatentHeadsBackward& b) {
  const LatentHeadSizes& s = b.sizes;
  const Tensor& like = b.d_k.defined() ? b.d_k : b.d_v;
  dispatch_device(like.dtype(), "latent_heads", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>(
        {s.nope_dim, s.rope_dim, s.value_dim}, {&b.d_k, &b.d_v, &b.d_kv, &b.d_k_rope}, [&](auto n) {
          const Threads threads = threads_of(like.rows(), (s.heads * (s.nope_dim + s.value_dim) + s.rope_dim) / n);
          GTA_LAUNCH((split_heads<T, n>), threads.grid, threads.block, 0, stream_of(like.device()),
                     Split<T>{sizes_of(s), like.rows(), rows_of<const T>(b.d_k), rows_of<const T>(b.d_v),
                              rows_of<T>(b.d_kv), rows_of<T>(b.d_k_rope), b.mode_kv == GradientMode::Accumulate,
                              b.mode_k_rope == GradientMode::Accumulate});
        });
  });
}

}  // namespace gta::cuda
