// Few queries against a cache: the time is that of reading keys and values, so each is read from memory once, for all
// the maps that share it, in the order in which it lies there.
//
//   work item     (sequence, chunk of keys), block by block: scores s of all maps, then of each map and query
//                 m' = max(m, max s), l = e^(m - m') l + sum e^(s - m'), u = e^(m - m') u + sum e^(s - m') v
//   second pass   (sequence, map, query): M = max m, U = sum e^(m - M) u / sum e^(m - M) l      over chunks, in order
//
// While a block's scores are computed its values are fetched, and while its values are added the next block's keys:
// into the second nearest cache, by instructions, of which only so many wait at a time. From there both are read in the
// order in which they lie, or nearly: up to 1.4 times as fast as one head after the other (docs/performance.md).
//
// A sequence is cut by its own length alone: neither the number of threads nor the rest of the batch changes a bit.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/backends/cpu/vector_math.h"
#include "core/dtype_pair.h"
#include "core/elementwise.h"
#include "core/parallel.h"
#include "layers/attention/shared_map_attention/cached_tiles_cpu.h"
#include "layers/attention/shared_map_attention/shared_map_attention_cpu.h"

namespace gta::cpu {
namespace {

constexpr int64_t kMostQueries = 4;
constexpr int64_t kBlockKeys = 32;
constexpr int64_t kScorePitch = kBlockKeys + kMostTileHeads;  // of a row: and what the last tile writes behind them
// Keys of a chunk: long ones leave fewer sums to put together, sixteen are enough for as many threads.
constexpr int64_t kLeastChunk = 64, kMostChunk = 512, kWantedChunks = 16;
// A thread has its chunks one behind the other, of which the next one's first keys are fetched as well.
constexpr int64_t kRangesOfThread = 2;
constexpr int64_t kLeastRows = 4, kNearBytes = 3072;  // of values: see rows_at_once()

constexpr int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }
constexpr int64_t chunk_keys(int64_t keys) {
  return std::clamp(pieces(keys, kWantedChunks * kLeastChunk) * kLeastChunk, kLeastChunk, kMostChunk);
}

// Fetches a stretch of memory into the second nearest cache, bit by bit while something else is computed in `steps`
// steps: without a loop, so that a step's sums stay in registers, and so two lines at most; finish() fetches the rest.
class Ahead {
 public:
  Ahead(const void* first, int64_t bytes, int64_t steps)
      : at_(static_cast<const char*>(first)), end_(at_ + bytes), two_(pieces(bytes, kLine) > steps) {}
  void operator()() {
    if (at_ >= end_) return;
    __builtin_prefetch(at_, 0, 2);
    at_ += kLine;
    if (!two_) return;
    __builtin_prefetch(at_, 0, 2);
    at_ += kLine;
  }
  void finish() {
    for (; at_ < end_; at_ += kLine) __builtin_prefetch(at_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;
  const char *at_, *end_;
  bool two_;
};

// T: keys and values. What queries and U are, Q, matters where they are read and written alone, so that nothing between
// is compiled for each pair.
template <class T>
class Decode {
 public:
  using C = compute_type<T>;
  using Wide = Widened<T>;

  explicit Decode(const AttentionForward& a)
      : a_(a),
        s_(a.shape),
        queries_(a.queries()),
        rows_(s_.query_heads * queries_),
        padded_rows_(pieces(rows_, kLanes<C>) * kLanes<C>),
        q_pitch_(Wide::padded(s_.head_dim)),
        u_pitch_(Wide::padded(s_.value_dim)),
        chunks_(0),
        values_in_keys_(a.k.raw_data() == a.v.raw_data()) {
    for (int64_t sequence = 0; sequence < s_.batch; ++sequence) chunks_ = std::max(chunks_, chunks_of(sequence));
    q_ = Tensor::empty({s_.batch * rows_, q_pitch_}, dtype_of<C>, a.q.device(), Purpose::Workspace);
    sums_ = Tensor::empty({s_.batch * chunks_ * rows_, u_pitch_}, dtype_of<C>, a.q.device(), Purpose::Workspace);
    states_ = Tensor::empty({s_.batch * chunks_ * 2, padded_rows_}, dtype_of<C>, a.q.device(), Purpose::Workspace);
  }

  template <class Q>
  void run() const {
    parallel_for(s_.batch, [&](int64_t sequence) { load_queries<Q>(sequence); });
    all_chunks();
    parallel_for(s_.batch * s_.query_heads, [&](int64_t item) {
      for (int64_t query = 0; query < queries_; ++query)
        combine<Q>(item / s_.query_heads, item % s_.query_heads * queries_ + query);
    });
  }

 private:
  static constexpr int64_t kStep = Wide::kStep;
  struct States {      // of all rows, and of none up to a whole vector of them
    C *largest, *sum;  // m and l
  };
  enum class Behind : uint8_t { OwnToo, Others };  // whose is the chunk behind one: the same thread's, or another's
  int64_t keys_of(int64_t sequence) const { return a_.keys.count.template data<int32_t>()[sequence]; }
  int64_t chunks_of(int64_t sequence) const { return pieces(keys_of(sequence), chunk_keys(keys_of(sequence))); }
  // Of one chunk, row after row. A row is a map and a query: map * queries + query.
  C* sums_of(int64_t sequence, int64_t chunk) const {
    return sums_.template data<C>() + (sequence * chunks_ + chunk) * rows_ * u_pitch_;
  }
  States states_of(int64_t sequence, int64_t chunk) const {
    C* const largest = states_.template data<C>() + (sequence * chunks_ + chunk) * 2 * padded_rows_;
    return {largest, largest + padded_rows_};
  }

  template <class Q>
  void load_queries(int64_t sequence) const {
    C* const all = q_.template data<C>() + sequence * rows_ * q_pitch_;
    std::fill_n(all, rows_ * q_pitch_, C{0});
    const int64_t sharing = rows_ / s_.key_heads;
    for (int64_t first_row = 0; first_row < rows_; first_row += sharing)
      for_row_tiles<C>(sharing, [&](auto rows, int64_t in_head) {
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t first = first_row + in_head, row = first + r;
          const Q* const from = a_.q.template data<Q>() + (sequence * queries_ + row % queries_) * a_.q.pitch() +
                                row / queries_ * s_.head_dim;
          C* const to = all + first * q_pitch_;
          for (int64_t c = 0; c < s_.head_dim; ++c) to[query_place<T>(c, r, rows)] = static_cast<C>(from[c]);
        }
      });
  }

  // Whole rows of the cache.
  static const T* cached(const Tensor& of, int64_t row) { return of.template data<T>() + row * of.pitch(); }
  static Ahead ahead_of(const Tensor& of, int64_t row, int64_t count, int64_t steps) {
    const int64_t numbers = count > 0 ? (count - 1) * of.pitch() + of.columns() : 0;
    return {of.template data<T>() + row * of.pitch(), numbers * static_cast<int64_t>(sizeof(T)), steps};
  }

  void all_chunks() const {
    const int64_t all = s_.batch * chunks_;
    parallel_ranges(all, pieces(all, kRangesOfThread * threads()), [&](int64_t first, int64_t last) {
      for (int64_t item = first; item < last; ++item)
        chunk(item / chunks_, item % chunks_, item + 1 < last ? Behind::OwnToo : Behind::Others);
    });
  }
  void chunk(int64_t sequence, int64_t chunk, Behind behind) const {
    const int64_t keys = keys_of(sequence), size = chunk_keys(keys), begin = chunk * size,
                  end = std::min(keys, begin + size);
    if (begin >= end) return;
    thread_local std::vector<C> scores, tiled, factors;
    scores.resize(static_cast<size_t>(padded_rows_ * kScorePitch));
    tiled.resize(static_cast<size_t>(kTileRows<C> * tiled_pitch()));
    factors.resize(static_cast<size_t>(padded_rows_));
    const C* const q = q_.template data<C>() + sequence * rows_ * q_pitch_;
    const States states = states_of(sequence, chunk);
    C* const sums = sums_of(sequence, chunk);
    std::fill_n(states.largest, padded_rows_, -std::numeric_limits<C>::infinity());
    std::fill_n(states.sum, padded_rows_, C{0});
    std::fill_n(sums, rows_ * u_pitch_, C{0});
    const int64_t first_row = a_.keys.first.template data<int32_t>()[sequence];
    for (int64_t first = begin; first < end; first += kBlockKeys) {
      const int64_t count = std::min(kBlockKeys, end - first),
                    next = std::min(kBlockKeys, (behind == Behind::OwnToo ? keys : end) - first - count);
      score_block(q, first_row + first, count, tiled.data(), scores.data());
      weigh_block(scores.data(), keys - queries_ + 1 - first, count, states, factors.data());
      add_block(scores.data(), factors.data(), first_row + first, count, next, sums);
    }
  }

  // Of a block: of each key all heads, and what the last tile writes behind them.
  int64_t tiled_pitch() const { return kBlockKeys * s_.key_heads + kMostTileHeads; }

  // Scores of a block's keys, of which the values are fetched meanwhile.
  void score_block(const C* q, int64_t first_row, int64_t count, C* tiled, C* scores) const {
    const int64_t sharing = rows_ / s_.key_heads;
    Ahead values = ahead_of(a_.v, first_row, values_in_keys_ ? 0 : count,
                            count * s_.key_heads * pieces(sharing, kTileRows<C>) * q_pitch_ / kStep);
    for_row_tiles<C>(sharing, [&](auto rows, int64_t row) {
      constexpr int R = decltype(rows)::value;
      if (s_.key_heads == 1 && sharing > kTileRows<C>)
        for (int64_t key = 0; key < count; key += kTileHeads<C, R>)
          score_keys<R, T, C>(q + row * q_pitch_, {cached(a_.k, first_row + key), a_.k.pitch(), s_.head_dim},
                              count - key, {scores + row * kScorePitch + key, kScorePitch}, values);
      else
        score_in_order<R>(q + row * q_pitch_, first_row, count, tiled, scores + row * kScorePitch, values);
    });
    values.finish();
  }

  // Of R rows of each head: in the order in which keys lie (tiled), then row by row. One head's are so at once.
  template <int R>
  void score_in_order(const C* q, int64_t first_row, int64_t count, C* tiled, C* scores, Ahead& values) const {
    const int64_t heads = s_.key_heads, sharing = rows_ / heads;
    CachedHeads<T, C> keys{.numbers = cached(a_.k, first_row),
                           .queries = q,
                           .dim = s_.head_dim,
                           .heads = heads,
                           .to_next_row = a_.k.pitch() - heads * s_.head_dim,
                           .query_stride = sharing * q_pitch_,
                           .left = count * heads};
    const TileRows<C> to = heads == 1 ? TileRows<C>{scores, kScorePitch} : TileRows<C>{tiled, tiled_pitch()};
    for (int64_t first = 0; first < count * heads; first += kTileHeads<C, R>)
      score_heads<R, T, C>(keys, {to.data + first, to.pitch}, values);
    if (heads == 1) return;
    for (int r = 0; r < R; ++r)
      for (int64_t head = 0; head < heads; ++head) {
        const C* const from = tiled + r * tiled_pitch() + head;
        C* const to = scores + (head * sharing + r) * kScorePitch;
        for (int64_t key = 0; key < count; ++key) to[key] = from[key * heads];
      }
  }

  // Scores become e^(scale (s - m')), those of keys that a row does not see 0; factors are e^(m - m'). Query i sees
  // `visible` + i of the block's keys, none below zero. As many rows at once as a vector has lanes.
  void weigh_block(C* scores, int64_t visible, int64_t count, const States& states, C* factors) const {
    const C scale = static_cast<C>(s_.scale);
    for (int64_t first = 0; first < rows_; first += kLanes<C>) {
      const int64_t rows = std::min<int64_t>(kLanes<C>, rows_ - first);
      C* const block = scores + first * kScorePitch;
      const auto seen = [&](int64_t row) { return std::clamp<int64_t>(visible + (first + row) % queries_, 0, count); };
      const auto hide = [&](C with) {
        if (visible >= kBlockKeys && count == kBlockKeys) return;
        for (int64_t row = 0; row < rows; ++row)
          std::fill(block + row * kScorePitch + seen(row), block + row * kScorePitch + kBlockKeys, with);
      };
      C *const largest = states.largest + first, *const sum = states.sum + first, *const factor = factors + first;
      Vector<C> of_rows[kLanes<C>] = {};
      hide(-std::numeric_limits<C>::infinity());
      for (int64_t row = 0; row < rows; ++row) {
        const C* const s = block + row * kScorePitch;
        of_rows[row] = load_vector<C>(s);
        for (int64_t c = kLanes<C>; c < kBlockKeys; c += kLanes<C>) {
          const Vector<C> other = load_vector<C>(s + c);
          of_rows[row] = of_rows[row] > other ? of_rows[row] : other;
        }
      }
      C of_block[kLanes<C>];
      store_vector(of_block, largest_lanes<C>(of_rows));
#pragma omp simd
      for (int64_t row = 0; row < kLanes<C>; ++row) {
        const C before = largest[row], now = std::max(before, of_block[row]);
        factor[row] = now == before ? C{1} : fast_exp((before - now) * scale);
        largest[row] = now;
      }
      for (int64_t row = 0; row < rows; ++row) {
        C* const s = block + row * kScorePitch;
        const C base = largest[row];
#pragma omp simd
        for (int64_t c = 0; c < kBlockKeys; ++c) s[c] = fast_exp((s[c] - base) * scale);
      }
      hide(0);
      for (int64_t row = 0; row < rows; ++row) {
        of_rows[row] = load_vector<C>(block + row * kScorePitch);
        for (int64_t c = kLanes<C>; c < kBlockKeys; c += kLanes<C>)
          of_rows[row] += load_vector<C>(block + row * kScorePitch + c);
      }
      store_vector(sum, load_vector<C>(factor) * load_vector<C>(sum) + sum_lanes<C>(of_rows));
    }
  }

  // Rows of values whose heads are added one after the other: few where a row has several heads, so that they are read
  // nearly in order, and not one alone, because each time a head's sums are read and written again.
  int64_t rows_at_once() const {
    const int64_t row_bytes = a_.v.columns() * static_cast<int64_t>(sizeof(T));
    return s_.value_heads == 1 ? kBlockKeys : std::clamp(kNearBytes / row_bytes, kLeastRows, kBlockKeys);
  }

  // A block's values to the sums, while `next` keys behind them are fetched.
  void add_block(const C* weights, C* factors, int64_t first_row, int64_t count, int64_t next, C* sums) const {
    const int64_t sharing = rows_ / s_.value_heads, at_once = rows_at_once();
    Ahead keys = ahead_of(a_.k, first_row + count, next,
                          count * s_.value_heads * pieces(sharing, kTileRows<C>) * u_pitch_ / kStep);
    for (int64_t first = 0; first < count; first += at_once) {
      for (int64_t head = 0; head < s_.value_heads; ++head)
        for_row_tiles<C>(sharing, [&](auto rows, int64_t row) {
          row += head * sharing;
          add_values<decltype(rows)::value, T, C>(
              {sums + row * u_pitch_, u_pitch_}, factors + row, {weights + row * kScorePitch + first, kScorePitch},
              {cached(a_.v, first_row + first) + head * s_.value_dim, a_.v.pitch(), s_.value_dim},
              std::min(at_once, count - first), keys);
        });
      std::fill_n(factors, rows_, C{1});
    }
  }

  template <class Q>
  void combine(int64_t sequence, int64_t row) const {
    const int64_t chunks = chunks_of(sequence), dim = s_.value_dim;
    const C scale = static_cast<C>(s_.scale);
    C largest = -std::numeric_limits<C>::infinity(), sum = 0;
    for (int64_t i = 0; i < chunks; ++i) largest = std::max(largest, states_of(sequence, i).largest[row]);
    thread_local std::vector<C> u;
    u.assign(static_cast<size_t>(u_pitch_), C{0});
    for (int64_t i = 0; i < chunks; ++i) {
      const States states = states_of(sequence, i);
      if (states.sum[row] == 0) continue;  // the query sees none of its keys
      const C weight = fast_exp((states.largest[row] - largest) * scale);
      const C* const part = sums_of(sequence, i) + row * u_pitch_;
      sum += weight * states.sum[row];
#pragma omp simd
      for (int64_t c = 0; c < u_pitch_; ++c) u[static_cast<size_t>(c)] += weight * part[c];
    }
    Q* const to =
        a_.u.template data<Q>() + (sequence * queries_ + row % queries_) * a_.u.pitch() + row / queries_ * dim;
    for (int64_t c = 0; c < dim; ++c) store(to[c], u[static_cast<size_t>(Wide::place(c))] / sum);
  }

  const AttentionForward& a_;
  const AttentionShape& s_;
  int64_t queries_, rows_, padded_rows_, q_pitch_, u_pitch_, chunks_;
  bool values_in_keys_;
  Tensor q_, sums_, states_;
};

}  // namespace

bool decode_few_queries(const AttentionForward& a) {
  if (!a.keys.defined() || a.logsumexp.defined() || a.queries() > kMostQueries || a.q.device().type != DeviceType::Cpu)
    return false;
  dispatch_pair(a.q.dtype(), a.k.dtype(), "shared_map_attention",
                [&](auto query, auto cached) { Decode<decltype(cached)>(a).template run<decltype(query)>(); });
  return true;
}

}  // namespace gta::cpu
