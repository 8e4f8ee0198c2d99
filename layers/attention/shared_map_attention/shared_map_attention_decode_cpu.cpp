// Few queries against a cache: the time is that of reading keys and values, so each is read from memory once, for all
// the maps that share it.
//
//   work item     (sequence, chunk of keys): scores of all maps, then of each map and query
//                 m = max s, l = sum e^(s - m), u = sum e^(s - m) v        of the chunk
//   second pass   (sequence, map, query): M = max m, U = sum e^(m - M) u / sum e^(m - M) l      over chunks, in order
//
// A row of the cache is read from its first head to its last: memory gives a stream sooner than pieces of one. Chunks
// are cut from a sequence's first key on, by size: neither the number of threads nor the rest of the batch changes a
// bit. bfloat16 keys and values are widened as they are read.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/backends/cpu/vector_math.h"
#include "core/elementwise.h"
#include "core/parallel.h"
#include "layers/attention/shared_map_attention/shared_map_attention_cpu.h"

namespace gta::cpu {
namespace {

constexpr int64_t kMostQueries = 4;
constexpr int64_t kChunkKeys = 64;

int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }

// out[r] = q_r . key for R rows of q: the key is read once.
template <int R, class T, class C>
void dots(const C* q, int64_t dim, const T* key, C* out, int64_t out_pitch) {
  C s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  const C *const q1 = q + (R > 1 ? dim : 0), *const q2 = q + (R > 2 ? 2 * dim : 0),
                 *const q3 = q + (R > 3 ? 3 * dim : 0);
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t c = 0; c < dim; ++c) {
    const C x = static_cast<C>(key[c]);
    s0 += q[c] * x;
    if constexpr (R > 1) s1 += q1[c] * x;
    if constexpr (R > 2) s2 += q2[c] * x;
    if constexpr (R > 3) s3 += q3[c] * x;
  }
  out[0] = s0;
  if constexpr (R > 1) out[out_pitch] = s1;
  if constexpr (R > 2) out[2 * out_pitch] = s2;
  if constexpr (R > 3) out[3 * out_pitch] = s3;
}

template <class T, class C>
void dots_of_rows(const C* q, int64_t rows, int64_t dim, const T* key, C* out, int64_t out_pitch) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) dots<4>(q + r * dim, dim, key, out + r * out_pitch, out_pitch);
  q += r * dim;
  out += r * out_pitch;
  switch (rows - r) {
    case 1:
      return dots<1>(q, dim, key, out, out_pitch);
    case 2:
      return dots<2>(q, dim, key, out, out_pitch);
    case 3:
      return dots<3>(q, dim, key, out, out_pitch);
    default:
      return;
  }
}

// u += p_0 v_0 + ... of up to four rows of values.
template <class T, class C>
void add_values(C* u, const C* p, const T* v, int64_t pitch, int64_t count, int64_t dim) {
  if (count == 4) {
    const T *const v1 = v + pitch, *const v2 = v + 2 * pitch, *const v3 = v + 3 * pitch;
#pragma omp simd
    for (int64_t c = 0; c < dim; ++c)
      u[c] += p[0] * static_cast<C>(v[c]) + p[1] * static_cast<C>(v1[c]) + p[2] * static_cast<C>(v2[c]) +
              p[3] * static_cast<C>(v3[c]);
    return;
  }
  for (int64_t key = 0; key < count; ++key)
#pragma omp simd
    for (int64_t c = 0; c < dim; ++c) u[c] += p[key] * static_cast<C>(v[key * pitch + c]);
}

template <class T>
class Decode {
 public:
  using C = compute_type<T>;

  explicit Decode(const AttentionForward& a)
      : a_(a),
        s_(a.shape),
        queries_(a.queries()),
        rows_(s_.query_heads * queries_),
        chunks_(pieces(a.most_keys(), kChunkKeys)),
        part_(s_.value_dim + 2),
        parts_(Tensor::empty({s_.batch * rows_, chunks_ * part_}, dtype_of<C>, a.q.device(), Purpose::Workspace)) {}

  void run() const {
    parallel_for(s_.batch * chunks_, [&](int64_t item) { chunk(item / chunks_, item % chunks_); });
    parallel_for(s_.batch * s_.query_heads, [&](int64_t item) {
      for (int64_t query = 0; query < queries_; ++query)
        combine(item / s_.query_heads, item % s_.query_heads * queries_ + query);
    });
  }

 private:
  int64_t keys_of(int64_t sequence) const { return a_.keys.count.template data<int32_t>()[sequence]; }
  // (u, m, l) of one chunk. A row is a map and a query: map * queries + query.
  C* part(int64_t sequence, int64_t row, int64_t chunk) const {
    return parts_.template data<C>() + (sequence * rows_ + row) * parts_.pitch() + chunk * part_;
  }

  // Queries of all rows, widened.
  void load_queries(int64_t sequence, C* to) const {
    for (int64_t row = 0; row < rows_; ++row) {
      const T* const from = a_.q.template data<T>() + (sequence * queries_ + row % queries_) * a_.q.pitch() +
                            row / queries_ * s_.head_dim;
      for (int64_t c = 0; c < s_.head_dim; ++c) to[row * s_.head_dim + c] = static_cast<C>(from[c]);
    }
  }

  void chunk(int64_t sequence, int64_t chunk) const {
    const int64_t keys = keys_of(sequence), first = chunk * kChunkKeys, count = std::min(kChunkKeys, keys - first);
    if (count <= 0) return;
    thread_local std::vector<C> q, scores;
    q.resize(static_cast<size_t>(rows_ * s_.head_dim));
    scores.resize(static_cast<size_t>(rows_ * kChunkKeys));
    load_queries(sequence, q.data());
    const int64_t first_row = a_.keys.first.template data<int32_t>()[sequence] + first;
    const int64_t sharing_key = rows_ / s_.key_heads, sharing_value = rows_ / s_.value_heads;
    for (int64_t key = 0; key < count; ++key) {
      const T* const k = a_.k.template data<T>() + (first_row + key) * a_.k.pitch();
      for (int64_t head = 0; head < s_.key_heads; ++head)
        dots_of_rows(q.data() + head * sharing_key * s_.head_dim, sharing_key, s_.head_dim, k + head * s_.head_dim,
                     scores.data() + head * sharing_key * kChunkKeys + key, kChunkKeys);
    }
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t visible = std::clamp<int64_t>(keys - queries_ + row % queries_ + 1 - first, 0, count);
      C* const out = part(sequence, row, chunk);
      weigh(scores.data() + row * kChunkKeys, visible, count, out);
      std::fill_n(out, s_.value_dim, C{0});
    }
    // Four values at a time, for every row that shares them: the next one finds them in the nearest cache.
    for (int64_t key = 0; key < count; key += 4)
      for (int64_t row = 0; row < rows_; ++row) {
        const T* const v =
            a_.v.template data<T>() + (first_row + key) * a_.v.pitch() + row / sharing_value * s_.value_dim;
        add_values(part(sequence, row, chunk), scores.data() + row * kChunkKeys + key, v, a_.v.pitch(),
                   std::min<int64_t>(4, count - key), s_.value_dim);
      }
  }

  // Scores become e^(scale (s - m)), those of keys that the query does not see 0; m and l go behind u.
  void weigh(C* row, int64_t visible, int64_t count, C* part) const {
    const C scale = static_cast<C>(s_.scale);
    C largest = -std::numeric_limits<C>::infinity(), sum = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < visible; ++c) largest = std::max(largest, row[c]);
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < visible; ++c) {
      row[c] = fast_exp((row[c] - largest) * scale);
      sum += row[c];
    }
    std::fill(row + visible, row + count, C{0});
    part[s_.value_dim] = largest;
    part[s_.value_dim + 1] = sum;
  }

  void combine(int64_t sequence, int64_t row) const {
    const int64_t chunks = pieces(keys_of(sequence), kChunkKeys), dim = s_.value_dim;
    const C scale = static_cast<C>(s_.scale);
    const C* const parts = part(sequence, row, 0);
    C largest = -std::numeric_limits<C>::infinity(), sum = 0;
    for (int64_t i = 0; i < chunks; ++i) largest = std::max(largest, parts[i * part_ + dim]);
    thread_local std::vector<C> u;
    u.assign(static_cast<size_t>(dim), C{0});
    for (int64_t i = 0; i < chunks; ++i) {
      const C* const p = parts + i * part_;
      if (p[dim + 1] == 0) continue;  // the query sees none of its keys
      const C weight = fast_exp((p[dim] - largest) * scale);
      sum += weight * p[dim + 1];
#pragma omp simd
      for (int64_t c = 0; c < dim; ++c) u[static_cast<size_t>(c)] += weight * p[c];
    }
    T* const to =
        a_.u.template data<T>() + (sequence * queries_ + row % queries_) * a_.u.pitch() + row / queries_ * dim;
    for (int64_t c = 0; c < dim; ++c) store(to[c], u[static_cast<size_t>(c)] / sum);
  }

  const AttentionForward& a_;
  const AttentionShape& s_;
  int64_t queries_, rows_, chunks_, part_;
  Tensor parts_;
};

}  // namespace

bool decode_few_queries(const AttentionForward& a) {
  if (!a.keys.defined() || a.logsumexp.defined() || a.queries() > kMostQueries || a.q.device().type != DeviceType::Cpu)
    return false;
  dispatch_floating(a.q.dtype(), "shared_map_attention", [&](auto zero) { Decode<decltype(zero)>(a).run(); });
  return true;
}

}  // namespace gta::cpu
