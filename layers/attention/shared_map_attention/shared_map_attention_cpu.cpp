// By blocks of query rows: the scores of one block against all visible keys fit the cache, so the softmax needs no
// rescaling.
//
// Backward: one work item is (sequence, map, chunk of query rows). It walks its blocks in order and sums dK and dV of
// its own map into partial sums; a second pass adds the partial sums of the maps that share a key or value head, chunk
// by chunk, in order.
//
// bfloat16 is widened to float32 at the door: scores and sums are float32 anyway, and the core is a few per cent of a
// step.
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

constexpr int64_t kBlockRows = 64;
constexpr int64_t kChunkRows = 512;  // shortest chunk of backward
constexpr int64_t kMostChunks = 8;   // bounds the memory of the partial sums

// Element types erased sizes of one call.
struct Sizes {
  int64_t queries, keys, offset;  // offset: position of the first query
  // Of the sequence that has most keys.
  explicit Sizes(const AttentionForward& a) : queries(a.queries()), keys(a.most_keys()), offset(keys - queries) {}
};

// Of one sequence: its keys, and the row of K and V where they begin.
struct KeyRange {
  int64_t first, count;
  KeyRange(const AttentionForward& a, int64_t sequence)
      : first(a.keys.defined() ? a.keys.first.data<int32_t>()[sequence] : sequence * a.most_keys()),
        count(a.keys.defined() ? a.keys.count.data<int32_t>()[sequence] : a.most_keys()) {}
};

// Room for `count` matrices of scores, of one size for all blocks of a call: the pool keeps one piece of memory for
// each thread, and not one for each width. What a narrow block leaves is never touched.
template <class T>
Tensor score_room(const AttentionForward& a, int64_t count) {
  const Sizes sizes(a);
  return Tensor::empty({count * std::min(kBlockRows, sizes.queries), sizes.keys}, dtype_of<T>, a.q.device(),
                       Purpose::Workspace);
}

// On the meta device the kernels allocate what they do elsewhere, and compute nothing.
bool only_counts(const AttentionForward& a) { return a.q.device().type == DeviceType::Meta; }
template <class T>
void count_score_rooms(const AttentionForward& a, int64_t count, int64_t items) {
  std::vector<Tensor> rooms;
  while (static_cast<int64_t>(rooms.size()) < std::min<int64_t>(threads(), items))
    rooms.push_back(score_room<T>(a, count));
}

// One block of query rows of one map of one sequence.
template <class T>
struct Block {
  const AttentionForward& a;
  const AttentionShape& s;
  int64_t sequence, map, row, rows;  // row: first query of the block within its sequence
  KeyRange keys;
  int64_t offset;        // position of the sequence's first query
  int64_t begin, width;  // the keys [begin, begin + width) are visible to at least one row

  Block(const AttentionForward& arguments, int64_t sequence, int64_t map, int64_t row, int64_t rows)
      : a(arguments), s(a.shape), sequence(sequence), map(map), row(row), rows(rows), keys(a, sequence) {
    offset = keys.count - a.queries();
    begin = keys.count;
    for (int64_t r = 0; r < rows; ++r) begin = std::min(begin, first_key(r));
    width = offset + row + rows - begin;
  }

  int64_t query_row(int64_t r) const { return sequence * a.queries() + row + r; }
  int64_t first_key(int64_t r) const {
    if (!a.document_starts.defined()) return 0;
    return std::clamp<int64_t>(a.document_starts.data<int32_t>()[query_row(r)], 0, offset + row + r);
  }
  // Visible columns of row r within the block.
  int64_t low(int64_t r) const { return first_key(r) - begin; }
  int64_t high(int64_t r) const { return offset + row + r + 1 - begin; }

  const T* q() const { return a.q.template data<T>() + query_row(0) * a.q.pitch() + map * s.head_dim; }
  const T* k() const {
    return a.k.template data<T>() + (keys.first + begin) * a.k.pitch() +
           map / (s.query_heads / s.key_heads) * s.head_dim;
  }
  const T* v() const {
    return a.v.template data<T>() + (keys.first + begin) * a.v.pitch() +
           map / (s.query_heads / s.value_heads) * s.value_dim;
  }
  T* u() const { return a.u.template data<T>() + query_row(0) * a.u.pitch() + map * s.value_dim; }
  T* logsumexp(int64_t r) const { return a.logsumexp.template data<T>() + query_row(r) * a.logsumexp.pitch() + map; }

  void scores(T* out) const {
    block_gemm<T>(Transpose::No, Transpose::Yes, rows, width, s.head_dim, q(), a.q.pitch(), k(), a.k.pitch(), out,
                  width, GradientMode::Overwrite);
  }
};

template <class T>
void forward_block(const Block<T>& block) {
  const AttentionForward& a = block.a;
  const T scale = static_cast<T>(a.shape.scale);
  Tensor workspace = score_room<T>(a, 1);
  T* const scores = workspace.template data<T>();
  T inverse[kBlockRows];
  block.scores(scores);
  for (int64_t r = 0; r < block.rows; ++r) {
    T* const row = scores + r * block.width;
    const int64_t low = block.low(r), high = block.high(r);
    T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
    for (int64_t c = low; c < high; ++c) largest = std::max(largest, row[c]);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = low; c < high; ++c) {
      row[c] = fast_exp((row[c] - largest) * scale);
      sum += row[c];
    }
    std::fill(row, row + low, T{0});
    std::fill(row + high, row + block.width, T{0});
    inverse[r] = T{1} / sum;
    if (a.logsumexp.defined()) *block.logsumexp(r) = largest * scale + std::log(sum);
  }
  T* const u = block.u();
  block_gemm<T>(Transpose::No, Transpose::No, block.rows, a.shape.value_dim, block.width, scores, block.width,
                block.v(), a.v.pitch(), u, a.u.pitch(), GradientMode::Overwrite);
  for (int64_t r = 0; r < block.rows; ++r) {
    T* const row = u + r * a.u.pitch();
#pragma omp simd
    for (int64_t c = 0; c < a.shape.value_dim; ++c) row[c] *= inverse[r];
  }
}

// Partial sums of one work item: dK and dV of one map over one chunk of queries, for the keys the chunk can see.
template <class T>
struct Partial {
  T *d_k, *d_v;  // (keys, dk), (keys, dv)
};

template <class T>
void backward_block(const Block<T>& block, const AttentionBackward& b, const Partial<T>& partial) {
  const AttentionForward& a = block.a;
  const AttentionShape& s = a.shape;
  const T scale = static_cast<T>(s.scale);
  const int64_t width = block.width;
  Tensor workspace = score_room<T>(a, 2);
  T* const map = workspace.template data<T>();
  T* const d_map = map + block.rows * width;
  const T* const d_u = b.d_u.template data<T>() + block.query_row(0) * b.d_u.pitch() + block.map * s.value_dim;
  block.scores(map);
  block_gemm<T>(Transpose::No, Transpose::Yes, block.rows, width, s.value_dim, d_u, b.d_u.pitch(), block.v(),
                a.v.pitch(), d_map, width, GradientMode::Overwrite);
  for (int64_t r = 0; r < block.rows; ++r) {
    const T *const du = d_u + r * b.d_u.pitch(), *const u = block.u() + r * a.u.pitch();
    T delta = 0;
#pragma omp simd reduction(+ : delta)
    for (int64_t c = 0; c < s.value_dim; ++c) delta += du[c] * u[c];
    const T l = *block.logsumexp(r);
    T *const p = map + r * width, *const d = d_map + r * width;
    const int64_t low = block.low(r), high = block.high(r);
#pragma omp simd
    for (int64_t c = low; c < high; ++c) {
      p[c] = fast_exp(p[c] * scale - l);
      d[c] = p[c] * (d[c] - delta) * scale;
    }
    for (T* row : {p, d}) {
      std::fill(row, row + low, T{0});
      std::fill(row + high, row + width, T{0});
    }
  }
  if (b.d_q.defined()) {
    T* const d_q = b.d_q.template data<T>() + block.query_row(0) * b.d_q.pitch() + block.map * s.head_dim;
    block_gemm<T>(Transpose::No, Transpose::No, block.rows, s.head_dim, width, d_map, width, block.k(), a.k.pitch(),
                  d_q, b.d_q.pitch(), b.mode_q);
  }
  if (b.d_k.defined())
    block_gemm<T>(Transpose::Yes, Transpose::No, width, s.head_dim, block.rows, d_map, width, block.q(), a.q.pitch(),
                  partial.d_k + block.begin * s.head_dim, s.head_dim, GradientMode::Accumulate);
  if (b.d_v.defined())
    block_gemm<T>(Transpose::Yes, Transpose::No, width, s.value_dim, block.rows, map, width, d_u, b.d_u.pitch(),
                  partial.d_v + block.begin * s.value_dim, s.value_dim, GradientMode::Accumulate);
}

// out[head] (+)= sum over the maps of the head's group and their chunks, in order. partials:
// [sequence][map][chunk][keys][dim].
template <class T>
void add_partials(const Tensor& out, GradientMode mode, const T* partials, const AttentionForward& a, int64_t heads,
                  int64_t dim, int64_t chunks, int64_t chunk_rows) {
  const Sizes sizes(a);
  const int64_t maps = a.shape.query_heads, sharing = maps / heads, grain = 64,
                pieces = (sizes.keys + grain - 1) / grain;
  parallel_for(a.shape.batch * heads * pieces, [&](int64_t item) {
    const int64_t sequence = item / (heads * pieces), head = item / pieces % heads, first = item % pieces * grain;
    for (int64_t key = first; key < std::min(sizes.keys, first + grain); ++key) {
      T* const to = out.template data<T>() + (sequence * sizes.keys + key) * out.pitch() + head * dim;
      if (mode == GradientMode::Overwrite) std::fill_n(to, dim, T{0});
      for (int64_t map = head * sharing; map < (head + 1) * sharing; ++map)
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          // A chunk that ends before this key cannot see it and has no sum for it.
          if (sizes.offset + std::min(sizes.queries, (chunk + 1) * chunk_rows) <= key) continue;
          const T* const from = partials + (((sequence * maps + map) * chunks + chunk) * sizes.keys + key) * dim;
#pragma omp simd
          for (int64_t c = 0; c < dim; ++c) to[c] += from[c];
        }
    }
  });
}

// f(T, block of queries) for every block of every map, in parallel.
template <class F>
void for_blocks(const AttentionForward& a, F&& f) {
  const Sizes sizes(a);
  const int64_t blocks = (sizes.queries + kBlockRows - 1) / kBlockRows, maps = a.shape.query_heads;
  dispatch_state(a.q.dtype(), "shared_map_attention", [&](auto zero) {
    using T = decltype(zero);
    if (only_counts(a)) return count_score_rooms<T>(a, 1, a.shape.batch * maps * blocks);
    // Long blocks first, so that the threads end together.
    parallel_for(a.shape.batch * maps * blocks, [&](int64_t item) {
      const int64_t row = (blocks - 1 - item / (a.shape.batch * maps)) * kBlockRows;
      f(item, Block<T>(a, item / maps % a.shape.batch, item % maps, row, std::min(kBlockRows, sizes.queries - row)));
    });
  });
}

template <class T>
double largest_score(const Block<T>& block) {
  Tensor workspace = score_room<T>(block.a, 1);
  T* const scores = workspace.template data<T>();
  block.scores(scores);
  T largest = -std::numeric_limits<T>::infinity();
  for (int64_t r = 0; r < block.rows; ++r)
    for (int64_t c = block.low(r); c < block.high(r); ++c) {
      const T score = scores[r * block.width + c];
      if (score > largest || std::isnan(score)) largest = score;
    }
  return static_cast<double>(largest) * block.a.shape.scale;
}

void forward(const AttentionForward& a) {
  for_blocks(a, [](int64_t, const auto& block) { forward_block(block); });
}

void backward(const AttentionBackward& b) {
  const AttentionForward& a = b.forward;
  const Sizes sizes(a);
  const int64_t maps = a.shape.query_heads, dk = a.shape.head_dim, dv = a.shape.value_dim;
  const int64_t eighth = ((sizes.queries + kMostChunks - 1) / kMostChunks + kBlockRows - 1) / kBlockRows * kBlockRows;
  const int64_t chunk_rows = std::max(kChunkRows, eighth), chunks = (sizes.queries + chunk_rows - 1) / chunk_rows;
  const int64_t items = a.shape.batch * maps * chunks;
  dispatch_state(a.q.dtype(), "shared_map_attention", [&](auto zero) {
    using T = decltype(zero);
    Tensor k_sums =
        Tensor::empty({items * sizes.keys, b.d_k.defined() ? dk : 0}, a.q.dtype(), a.q.device(), Purpose::Workspace);
    Tensor v_sums =
        Tensor::empty({items * sizes.keys, b.d_v.defined() ? dv : 0}, a.q.dtype(), a.q.device(), Purpose::Workspace);
    if (only_counts(a)) return count_score_rooms<T>(a, 2, items);
    parallel_for(items, [&](int64_t i) {
      const int64_t chunk = chunks - 1 - i / (a.shape.batch * maps), sequence = i / maps % a.shape.batch,
                    map = i % maps;
      const int64_t last = std::min(sizes.queries, (chunk + 1) * chunk_rows),
                    item = (sequence * maps + map) * chunks + chunk;
      const Partial<T> partial{k_sums.template data<T>() + item * sizes.keys * k_sums.columns(),
                               v_sums.template data<T>() + item * sizes.keys * v_sums.columns()};
      std::fill_n(partial.d_k, (sizes.offset + last) * k_sums.columns(), T{0});
      std::fill_n(partial.d_v, (sizes.offset + last) * v_sums.columns(), T{0});
      for (int64_t row = chunk * chunk_rows; row < last; row += kBlockRows)
        backward_block(Block<T>(a, sequence, map, row, std::min(kBlockRows, last - row)), b, partial);
    });
    if (b.d_k.defined())
      add_partials<T>(b.d_k, b.mode_k, k_sums.template data<T>(), a, a.shape.key_heads, dk, chunks, chunk_rows);
    if (b.d_v.defined())
      add_partials<T>(b.d_v, b.mode_v, v_sums.template data<T>(), a, a.shape.value_heads, dv, chunks, chunk_rows);
  });
}

// A float32 copy of a bfloat16 tensor, or room for one; of a cache the keys that there are, one sequence's behind the
// other's.
Tensor wide(const Tensor& tensor) {
  Tensor copy = Tensor::empty({tensor.rows(), tensor.columns()}, DType::F32, tensor.device(), Purpose::Workspace);
  GTA_DISPATCH(copy.device(), convert, copy, tensor);
  return copy;
}
Tensor wide_room(const Tensor& tensor) {
  return tensor.defined()
             ? Tensor::empty({tensor.rows(), tensor.columns()}, DType::F32, tensor.device(), Purpose::Workspace)
             : Tensor{};
}

CachedKeys packed(const AttentionForward& a) {
  CachedKeys packed{Tensor::empty({a.shape.batch}, DType::I32, a.q.device(), Purpose::Workspace), a.keys.count,
                    a.keys.most, a.keys.total};
  int64_t first = 0;
  for (int64_t sequence = 0; sequence < a.shape.batch; ++sequence) {
    packed.first.data<int32_t>()[sequence] = static_cast<int32_t>(first);
    first += KeyRange(a, sequence).count;
  }
  return packed;
}
Tensor wide_keys(const AttentionForward& a, const Tensor& tensor) {
  if (!a.keys.defined()) return wide(tensor);
  Tensor copy = Tensor::empty({a.keys.total, tensor.columns()}, DType::F32, tensor.device(), Purpose::Workspace);
  int64_t first = 0;
  for (int64_t sequence = 0; sequence < a.shape.batch; ++sequence) {
    const KeyRange keys(a, sequence);
    GTA_DISPATCH(copy.device(), convert, copy.row_slice(first, keys.count), tensor.row_slice(keys.first, keys.count));
    first += keys.count;
  }
  return copy;
}

}  // namespace

void shared_map_attention_forward(const AttentionForward& a) {
  ProfilerRange::add_flops(2.0 * visible_pairs(a) * static_cast<double>(a.shape.head_dim + a.shape.value_dim));
  if (decode_few_queries(a)) return;
  AttentionForward f = a;
  if (a.q.dtype() == DType::BF16) {
    f.q = wide(a.q);
    f.u = wide_room(a.u);
  }
  if (a.k.dtype() == DType::BF16) {
    f.k = wide_keys(a, a.k);
    f.v = wide_keys(a, a.v);
    if (a.keys.defined()) f.keys = packed(a);
  }
  forward(f);
  if (a.u.dtype() == DType::BF16) GTA_DISPATCH(a.u.device(), convert, a.u, f.u);
}

double shared_map_attention_largest_score(const AttentionForward& a) {
  if (a.q.dtype() == DType::BF16)
    return shared_map_attention_largest_score({a.shape, wide(a.q), wide(a.k), a.v, a.document_starts, {}, {}});
  const int64_t blocks = (Sizes(a).queries + kBlockRows - 1) / kBlockRows;
  std::vector<double> of_blocks(a.shape.batch * a.shape.query_heads * blocks);
  for_blocks(a, [&](int64_t item, const auto& block) { of_blocks[item] = largest_score(block); });
  double largest = -std::numeric_limits<double>::infinity();
  for (double score : of_blocks)
    if (score > largest || std::isnan(score)) largest = score;
  return largest;
}

void shared_map_attention_backward(const AttentionBackward& b) {
  const AttentionForward& a = b.forward;
  ProfilerRange::add_flops(2.0 * visible_pairs(a) * static_cast<double>(3 * a.shape.head_dim + 2 * a.shape.value_dim));
  if (a.q.dtype() != DType::BF16) return backward(b);
  const AttentionBackward f{{a.shape, wide(a.q), wide(a.k), wide(a.v), a.document_starts, wide(a.u), a.logsumexp},
                            wide(b.d_u),
                            wide_room(b.d_q),
                            wide_room(b.d_k),
                            wide_room(b.d_v),
                            GradientMode::Overwrite,
                            GradientMode::Overwrite,
                            GradientMode::Overwrite};
  backward(f);
  const auto put = [](const Tensor& to, const Tensor& from, GradientMode mode) {
    if (!to.defined()) return;
    if (mode == GradientMode::Accumulate)
      GTA_DISPATCH(to.device(), add_into, to, from);
    else
      GTA_DISPATCH(to.device(), convert, to, from);
  };
  put(b.d_q, f.d_q, b.mode_q);
  put(b.d_k, f.d_k, b.mode_k);
  put(b.d_v, f.d_v, b.mode_v);
}

}  // namespace gta::cpu
