// delta = rowsum(dU * U)     A = exp(scale Q K^T - L)     dS = A * (dU V^T - delta)
// dQ = scale dS K     dK = scale sum over the maps sharing K of dS^T Q     dV = sum over the maps sharing V of A^T dU
//
// Three steps, each of which computes what it needs of the maps again and owns what it writes, so that no sum depends
// on who comes first:
//   row states   L, delta and the first visible key of every row of every map
//   dK and dV    by tiles of keys: a block walks the maps of one group and, for each, the queries that see its keys,
//                and sums in registers
//   dQ           by tiles of queries, over the keys that they see
// A group is a run of maps that share both their key head and their value head: all of them, or fewer where that would
// make too few blocks. A head that serves several groups gets float32 partial sums, which a last pass adds group by
// group.
#include <algorithm>
#include <numeric>

#include "layers/attention/shared_map_attention/shared_map_attention_cuda.h"

namespace gta::cuda {
namespace {

using namespace attention;

// As many blocks of dK and dV as keep the largest devices busy. A constant, so that devices with the same tiles make
// the same sums.
constexpr int64_t kEnoughBlocks = 512;

struct alignas(16) RowState {
  float logsumexp_log2, delta;
  int first_key, unused;
};

// Where a gradient of keys or values goes: to its tensor, or as one of several partial sums.
template <class T>
struct Destination {
  Rows<T> to;        // no data when nobody wants it
  Rows<float> sums;  // (groups * batch * keys, dim); no data where one group is all
  bool accumulate;
  int dim;
};

template <class T>
struct Backward {
  Problem<T> p;
  Rows<const T> u, d_u;
  Rows<const float> logsumexp;
  RowState* states;  // (batch, maps, queries)
  int group;         // maps of a group
  Rows<T> d_q;
  bool accumulate_q;
  Destination<T> d_k, d_v;

  __device__ __forceinline__ RowState* states_of(int sequence, int map) const {
    return states + (int64_t{sequence} * p.maps + map) * p.queries;
  }
  __device__ __forceinline__ const T* d_u_at(int sequence, int query, int map) const {
    return d_u.at(p.query_row(sequence, query), int64_t{map} * p.value_dim);
  }
};

// Sixteen lanes to a row of one map, n columns at a time.
constexpr int kStateThreads = 256, kStateRows = kStateThreads / 16;
template <int n, class T>
__global__ void __launch_bounds__(kStateThreads) row_states(const Backward<T> a) {
  const Problem<T>& p = a.p;
  const int64_t item = int64_t{blockIdx.x} * kStateRows + threadIdx.x / 16, row = item / p.maps;
  const int map = static_cast<int>(item % p.maps), lane = threadIdx.x % 16;
  const bool here = row < int64_t{p.batch} * p.queries;
  float delta = 0;
  if (here)
    for (int column = lane * n; column < p.value_dim; column += 16 * n) {
      float u[n], d_u[n];
      load_vector(u, a.u.at(row, int64_t{map} * p.value_dim + column));
      load_vector(d_u, a.d_u.at(row, int64_t{map} * p.value_dim + column));
#pragma unroll
      for (int i = 0; i < n; ++i) delta += u[i] * d_u[i];
    }
  delta = warp_sum<kRowLanes>(delta);
  if (!here || lane) return;
  const int sequence = static_cast<int>(row / p.queries), query = static_cast<int>(row % p.queries);
  a.states_of(sequence, map)[query] = {*a.logsumexp.at(row, map) * kLog2E, delta, p.first_key(sequence, query), 0};
}

// Tensor (rows, heads * dim) (+)= the sums of the `count` groups that share a head, in order.
template <class T>
__global__ void __launch_bounds__(256) add_sums(const Destination<T> d, int64_t rows, int columns, int count) {
  for_items(rows, columns, [&](int64_t row, int64_t column) {
    const int64_t head = column / d.dim;
    float sum = 0;
    for (int i = 0; i < count; ++i) sum += *d.sums.at((head * count + i) * rows + row, column % d.dim);
    float values[1] = {sum};
    write_vector(d.to.at(row, column), values, d.accumulate);
  });
}

// ---- tiles ----

// Which gradients a kernel of key blocks makes.
enum class Of : uint8_t { Keys, Values, Both };

// Warps of 16 * m keys each; two stages of query tiles. V is needed for dA, so for dK alone.
template <int dk_, int dv_, Of of_, int warps, int m_, int queries_>
struct KeyTiles {
  static constexpr Of of = of_;
  static constexpr int dk = dk_, dv = dv_, m = m_, queries = queries_, threads = 32 * warps, rows = 16 * m * warps;
  static constexpr int k_size = rows * kPitch<dk>, v_size = of == Of::Values ? 0 : rows * kPitch<dv>;
  static constexpr int q_size = queries * kPitch<dk>, u_size = queries * kPitch<dv>;
  static constexpr size_t shared =
      (k_size + v_size + 2 * (q_size + u_size)) * sizeof(bf16) + 2 * queries * sizeof(RowState);
  static_assert(queries % 16 == 0 && queries <= threads && shared <= kMostShared);
};

// Starts copies of the states of `rows` queries, zero after the first `count`: with zero rows of Q and dU they add
// nothing to any sum.
template <int rows, int threads>
__device__ __forceinline__ void load_states(RowState* to, const RowState* from, int count) {
  static_assert(rows <= threads);
  const int row = threadIdx.x;
  if (row < rows) ptx::cp_async_16(to + row, from + row, row < count ? 16 : 0);
}

// Fragments of a warp that begins at `key`, times `factor`.
template <int m, int n>
__device__ __forceinline__ void write_keys(const Destination<bf16>& d, const Problem<bf16>& p, float (&sum)[m][n][4],
                                           int sequence, int key, int group, int head, float factor) {
  const int lane = threadIdx.x & 31, pair = (lane & 3) * 2;
  for_rows<m>(key + (lane >> 2), [&](int i, int k) {
    if (k >= p.keys) return;
    const int64_t row = p.key_row(sequence, k);
    if (d.sums.data) {
      float* const to = d.sums.at(int64_t{group} * p.batch * p.keys + row, pair);
      for_pairs(sum, i, 0, [&](int column, float x, float y) {
        *reinterpret_cast<float2*>(to + column) = {x * factor, y * factor};
      });
    } else {
      bf16* const to = d.to.at(row, head * 8 * n + pair);
      for_pairs(sum, i, 0, [&](int column, float x, float y) {
        float values[2] = {x * factor, y * factor};
        write_vector(to + column, values, d.accumulate);
      });
    }
  });
}

// S^T = K Q^T and dA^T = V dU^T: the rows of these fragments are keys, so that A^T and dS^T multiply dU and Q straight
// from registers.
template <class C>
__global__ void __launch_bounds__(C::threads, 1) key_tiles(const Backward<bf16> a) {
  const Problem<bf16>& p = a.p;
  bf16* const k_tile = dynamic_shared<bf16>();
  bf16* const v_tile = k_tile + C::k_size;
  bf16* const q_tiles = v_tile + C::v_size;
  bf16* const u_tiles = q_tiles + 2 * C::q_size;
  RowState* const state_tiles = reinterpret_cast<RowState*>(u_tiles + 2 * C::u_size);
  GTA_SHARED_ARRAY(int, scratch, [32]);

  // The first keys are seen by the most queries and come first.
  const int group = blockIdx.x, first_map = group * a.group, sequence = blockIdx.y, key = blockIdx.z * C::rows;
  const int begin = max(0, key - p.offset), end = last_query_of(p, sequence, begin, key + C::rows, scratch);
  const int warp_row = (threadIdx.x >> 5) * 16 * C::m, warp_key = key + warp_row;
  const int lane = threadIdx.x & 31, pair = (lane & 3) * 2;

  const auto load_queries = [&](int map, int query, int stage) {
    const int count = p.queries - query;
    load_tile<C::queries, C::dk, C::threads>(q_tiles + stage * C::q_size, p.q_at(sequence, query, map), p.q.pitch,
                                             count);
    load_tile<C::queries, C::dv, C::threads>(u_tiles + stage * C::u_size, a.d_u_at(sequence, query, map), a.d_u.pitch,
                                             count);
    load_states<C::queries, C::threads>(state_tiles + stage * C::queries, a.states_of(sequence, map) + query, count);
    ptx::cp_async_commit();
  };

  float d_k[C::m][C::dk / 8][4] = {}, d_v[C::m][C::dv / 8][4] = {};  // the one that is not asked for takes no registers
  int map = begin < end ? first_map : first_map + a.group, query = begin;
  if (begin < end) {
    load_tile<C::rows, C::dk, C::threads>(k_tile, p.k_at(sequence, key, first_map), p.k.pitch, p.keys - key);
    if constexpr (C::of != Of::Values)
      load_tile<C::rows, C::dv, C::threads>(v_tile, p.v_at(sequence, key, first_map), p.v.pitch, p.keys - key);
    load_queries(map, query, 0);
  }
  for (int stage = 0; map < first_map + a.group; stage ^= 1) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // and every warp is done with the other stage
    const bool last = query + C::queries >= end;
    const int next_map = map + last, next_query = last ? begin : query + C::queries;
    if (next_map < first_map + a.group) load_queries(next_map, next_query, stage ^ 1);

    // Else all of the queries stand before this warp's keys, or it has none.
    if (p.offset + query + C::queries > warp_key && warp_key < p.keys) {
      const bf16 *const q = q_tiles + stage * C::q_size, *const u = u_tiles + stage * C::u_size;
      const RowState* const states = state_tiles + stage * C::queries;
      float s[C::m][C::queries / 8][4] = {};
      multiply_rows<C::dk>(s, k_tile + warp_row * kPitch<C::dk>, q);
      for_columns<C::queries / 8>(pair, [&](int j, int column) {
        const float logsumexp = states[column].logsumexp_log2;
        for_rows<C::m>(0, [&](int i, int) { at(s, i, j) = ptx::exp2_approx(at(s, i, j) * p.scale_log2 - logsumexp); });
      });
      // a branch of whole warps: most tiles need no mask
      if (p.starts || p.offset + query < warp_key + 16 * C::m - 1) {
        for_columns<C::queries / 8>(pair, [&](int j, int column) {
          const int position = p.offset + query + column, visible = states[column].first_key;
          for_rows<C::m>(warp_key + (lane >> 2), [&](int i, int k) {
            if (k > position || k < visible) at(s, i, j) = 0.0f;
          });
        });
      }
      if constexpr (C::of != Of::Keys) multiply_map(d_v, s, u);
      if constexpr (C::of != Of::Values) {
        float d[C::m][C::queries / 8][4] = {};
        multiply_rows<C::dv>(d, v_tile + warp_row * kPitch<C::dv>, u);
        for_columns<C::queries / 8>(pair, [&](int j, int column) {
          const float delta = states[column].delta;
          for_rows<C::m>(0, [&](int i, int) { at(d, i, j) = at(s, i, j) * (at(d, i, j) - delta); });
        });
        multiply_map(d_k, d, q);
      }
    }
    map = next_map;
    query = next_query;
  }
  // Of::Both also runs for one of them alone.
  if (C::of != Of::Values && a.d_k.to.data)
    write_keys(a.d_k, p, d_k, sequence, warp_key, group, first_map / p.maps_of_key, p.scale);
  if (C::of != Of::Keys && a.d_v.to.data)
    write_keys(a.d_v, p, d_v, sequence, warp_key, group, first_map / p.maps_of_value, 1.0f);
}

// Warps of 16 * m queries each; two stages of key and value tiles.
template <int dk_, int dv_, int warps, int m_, int keys_>
struct QueryTiles {
  static constexpr int dk = dk_, dv = dv_, m = m_, keys = keys_, threads = 32 * warps, rows = 16 * m * warps;
  static constexpr int q_size = rows * kPitch<dk>, u_size = rows * kPitch<dv>, k_size = keys * kPitch<dk>,
                       v_size = keys * kPitch<dv>;
  static constexpr size_t shared = (q_size + u_size + 2 * (k_size + v_size)) * sizeof(bf16) + rows * sizeof(RowState);
  static_assert(keys % 16 == 0 && rows <= threads && shared <= kMostShared);
};

template <class C>
__global__ void __launch_bounds__(C::threads, 1) query_tiles(const Backward<bf16> a) {
  const Problem<bf16>& p = a.p;
  bf16* const q_tile = dynamic_shared<bf16>();
  bf16* const u_tile = q_tile + C::q_size;
  bf16* const k_tiles = u_tile + C::u_size;
  bf16* const v_tiles = k_tiles + 2 * C::k_size;
  RowState* const states = reinterpret_cast<RowState*>(v_tiles + 2 * C::v_size);
  GTA_SHARED_ARRAY(int, scratch, [32]);

  // Long rows first, as in forward.
  const int map = blockIdx.x, sequence = blockIdx.y, query = (gridDim.z - 1 - blockIdx.z) * C::rows,
            query_count = min(C::rows, p.queries - query);
  const int first = first_key_of(p, sequence, query, query_count, scratch) / C::keys * C::keys,
            end = p.offset + query + query_count;

  const bf16* k = Pieces<C::dk, C::threads>::own(p.k_at(sequence, first, map), p.k.pitch);
  const bf16* v = Pieces<C::dv, C::threads>::own(p.v_at(sequence, first, map), p.v.pitch);
  // The next tile.
  const auto load_keys = [&](int key, int stage) {
    load_own<C::keys, C::dk, C::threads>(k_tiles + stage * C::k_size, k, p.k.pitch, p.keys - key);
    load_own<C::keys, C::dv, C::threads>(v_tiles + stage * C::v_size, v, p.v.pitch, p.keys - key);
    ptx::cp_async_commit();
    k += C::keys * p.k.pitch;
    v += C::keys * p.v.pitch;
  };
  load_tile<C::rows, C::dk, C::threads>(q_tile, p.q_at(sequence, query, map), p.q.pitch, query_count);
  load_tile<C::rows, C::dv, C::threads>(u_tile, a.d_u_at(sequence, query, map), a.d_u.pitch, query_count);
  load_states<C::rows, C::threads>(states, a.states_of(sequence, map) + query, query_count);
  load_keys(first, 0);

  const int lane = threadIdx.x & 31, warp_row = (threadIdx.x >> 5) * 16 * C::m, row = warp_row + (lane >> 2),
            pair = (lane & 3) * 2;
  float d_q[C::m][C::dk / 8][4] = {};
  for (int key = first, stage = 0; key < end; key += C::keys, stage ^= 1) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // and every warp is done with the other stage
    if (key + C::keys < end) load_keys(key + C::keys, stage ^ 1);
    const int warp_position = p.offset + query + warp_row;
    // After the diagonal for all rows of this warp, or no row of it is there.
    if (key >= warp_position + 16 * C::m || warp_row >= query_count) continue;

    float s[C::m][C::keys / 8][4] = {}, d[C::m][C::keys / 8][4] = {};
    multiply_rows<C::dk>(s, q_tile + warp_row * kPitch<C::dk>, k_tiles + stage * C::k_size);
    multiply_rows<C::dv>(d, u_tile + warp_row * kPitch<C::dv>, v_tiles + stage * C::v_size);
    for_rows<C::m>(row, [&](int i, int r) {
      const RowState state = states[r];
      for_columns<C::keys / 8>(pair, [&](int j, int) {
        at(d, i, j) = ptx::exp2_approx(at(s, i, j) * p.scale_log2 - state.logsumexp_log2) * (at(d, i, j) - state.delta);
      });
    });
    if (p.starts || key + C::keys - 1 > warp_position) {
      for_rows<C::m>(row, [&](int i, int r) {
        const int position = p.offset + query + r, visible = states[r].first_key;
        for_columns<C::keys / 8>(key + pair, [&](int j, int column) {
          if (column > position || column < visible) at(d, i, j) = 0.0f;
        });
      });
    }
    multiply_map(d_q, d, k_tiles + stage * C::k_size);
  }

  for_rows<C::m>(row, [&](int i, int r) {
    if (r >= query_count) return;
    bf16* const to = a.d_q.at(p.query_row(sequence, query + r), map * C::dk + pair);
    for_pairs(d_q, i, 0, [&](int column, float x, float y) {
      float values[2] = {x * p.scale, y * p.scale};
      write_vector(to + column, values, a.accumulate_q);
    });
  });
}

// ---- parts ----

// 64 columns of dK or dV.
template <class T, Of of>
__global__ void __launch_bounds__(kPartThreads, 1) key_parts(const Backward<T> a) {
  const Problem<T>& p = a.p;
  GTA_SHARED_ARRAY(PartScratch, scratch, [1]);
  GTA_SHARED_ARRAY(int, scratch_of_last, [32]);
  const int groups = p.maps / a.group, group = blockIdx.x % groups, first_map = group * a.group, sequence = blockIdx.y;
  const int key = blockIdx.z * kPart, key_count = min(kPart, p.keys - key);
  const Destination<T>& d = of == Of::Keys ? a.d_k : a.d_v;
  const int column = blockIdx.x / groups * kPart, columns = min(kPart, d.dim - column);
  const int begin = max(0, key - p.offset), end = last_query_of(p, sequence, begin, key + key_count, scratch_of_last);
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  Part sum = {};
  for (int map = first_map; map < first_map + a.group; ++map)
    for (int query = begin; query < end; query += kPart) {
      const int query_count = min(kPart, end - query);
      const T *const q = p.q_at(sequence, query, map), *const d_u = a.d_u_at(sequence, query, map);
      Part s = {}, d_a = {};
      multiply_rows(s, scratch[0], p.k_at(sequence, key, map), p.k.pitch, key_count, q, p.q.pitch, query_count,
                    p.head_dim);
      if (of == Of::Keys)
        multiply_rows(d_a, scratch[0], p.v_at(sequence, key, map), p.v.pitch, key_count, d_u, a.d_u.pitch, query_count,
                      p.value_dim);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = x + 16 * j;
        const RowState state = a.states_of(sequence, map)[query + min(row, query_count - 1)];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int k = key + y + 16 * i;
          const bool visible = row < query_count && k <= p.offset + query + row && k >= state.first_key;
          const float weight = visible ? exp2f(s[i][j] * p.scale_log2 - state.logsumexp_log2) : 0.0f;
          scratch[0].map[(y + 16 * i) * kPartPitch + row] =
              of == Of::Values ? weight : weight * (d_a[i][j] - state.delta);
        }
      }
      if (of == Of::Keys)
        multiply_map(sum, scratch[0], q + column, p.q.pitch, query_count, columns);
      else
        multiply_map(sum, scratch[0], d_u + column, a.d_u.pitch, query_count, columns);
    }

  const int64_t head = first_map / (of == Of::Keys ? p.maps_of_key : p.maps_of_value);
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (y + 16 * i >= key_count || x + 16 * j >= columns) continue;
      const int64_t row = p.key_row(sequence, key + y + 16 * i);
      float values[1] = {of == Of::Keys ? sum[i][j] * p.scale : sum[i][j]};
      if (d.sums.data)
        *d.sums.at(int64_t{group} * p.batch * p.keys + row, column + x + 16 * j) = values[0];
      else
        write_vector(d.to.at(row, head * d.dim + column + x + 16 * j), values, d.accumulate);
    }
}

// 64 columns of dQ.
template <class T>
__global__ void __launch_bounds__(kPartThreads) query_parts(const Backward<T> a) {
  const Problem<T>& p = a.p;
  GTA_SHARED_ARRAY(PartScratch, scratch, [1]);
  GTA_SHARED_ARRAY(int, scratch_of_first, [32]);
  const int map = blockIdx.x % p.maps, sequence = blockIdx.y;
  const int query = (gridDim.z - 1 - blockIdx.z) * kPart, query_count = min(kPart, p.queries - query);
  const int column = blockIdx.x / p.maps * kPart, columns = min(kPart, p.head_dim - column);
  const int first = first_key_of(p, sequence, query, query_count, scratch_of_first),
            end = p.offset + query + query_count;
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  Part d_q = {};
  for (int key = first; key < end; key += kPart) {
    const int key_count = min(kPart, end - key);
    const T *const k = p.k_at(sequence, key, map), *const v = p.v_at(sequence, key, map);
    Part s = {}, d_a = {};
    multiply_rows(s, scratch[0], p.q_at(sequence, query, map), p.q.pitch, query_count, k, p.k.pitch, key_count,
                  p.head_dim);
    multiply_rows(d_a, scratch[0], a.d_u_at(sequence, query, map), a.d_u.pitch, query_count, v, p.v.pitch, key_count,
                  p.value_dim);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = y + 16 * i;
      const RowState state = a.states_of(sequence, map)[query + min(row, query_count - 1)];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int c = key + x + 16 * j;
        const bool visible = c <= p.offset + query + row && c >= state.first_key;
        scratch[0].map[row * kPartPitch + x + 16 * j] =
            visible ? exp2f(s[i][j] * p.scale_log2 - state.logsumexp_log2) * (d_a[i][j] - state.delta) : 0.0f;
      }
    }
    multiply_map(d_q, scratch[0], k + column, p.k.pitch, key_count, columns);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (y + 16 * i >= query_count || x + 16 * j >= columns) continue;
      float values[1] = {d_q[i][j] * p.scale};
      write_vector(a.d_q.at(p.query_row(sequence, query + y + 16 * i), int64_t{map} * p.head_dim + column + x + 16 * j),
                   values, a.accumulate_q);
    }
}

// ---- launching ----

// A call and its temporary memory.
template <class T>
struct Call {
  const AttentionBackward& b;
  cudaStream_t stream;
  Tensor states, k_sums, v_sums;
  Backward<T> arguments;
  dim3 key_grid;

  // rows: keys of a block.
  Call(const AttentionBackward& b, int64_t rows) : b(b), stream(stream_of(b.d_u.device())), arguments{} {
    const AttentionForward& f = b.forward;
    Problem<T>& p = arguments.p = problem_of<T>(f);
    const int64_t maps = p.maps, tiles = ceil_div(p.keys, rows);
    int& group = arguments.group = std::gcd(p.maps_of_key, p.maps_of_value);
    const int together = group;
    while (group > 1 && (together % group || p.batch * tiles * (maps / group) < kEnoughBlocks)) --group;
    key_grid = dim3(static_cast<unsigned>(maps / group), static_cast<unsigned>(p.batch), static_cast<unsigned>(tiles));
    arguments.u = rows_of<const T>(f.u);
    arguments.d_u = rows_of<const T>(b.d_u);
    arguments.logsumexp = rows_of<const float>(f.logsumexp);
    arguments.d_q = rows_of<T>(b.d_q);
    arguments.accumulate_q = b.mode_q == GradientMode::Accumulate;
    arguments.d_k = destination(b.d_k, b.mode_k, p.head_dim, p.maps_of_key, k_sums);
    arguments.d_v = destination(b.d_v, b.mode_v, p.value_dim, p.maps_of_value, v_sums);
    states = Tensor::empty({int64_t{p.batch} * maps * p.queries, 4}, DType::F32, b.d_u.device(), Purpose::Workspace);
    arguments.states = reinterpret_cast<RowState*>(states.raw_data());
  }

  Destination<T> destination(const Tensor& to, GradientMode mode, int dim, int sharing, Tensor& sums) const {
    const Problem<T>& p = arguments.p;
    if (to.defined() && sharing > arguments.group)
      sums = Tensor::empty({int64_t{p.maps / arguments.group} * p.batch * p.keys, dim}, DType::F32, to.device(),
                           Purpose::Workspace);
    return {rows_of<T>(to), rows_of<float>(sums), mode == GradientMode::Accumulate, dim};
  }

  bool any_query() const { return arguments.p.queries > 0; }
  dim3 query_grid(int64_t rows, int64_t chunks = 1) const {
    const Problem<T>& p = arguments.p;
    return dim3(static_cast<unsigned>(p.maps * chunks), static_cast<unsigned>(p.batch),
                static_cast<unsigned>(ceil_div(p.queries, rows)));
  }

  template <int n>
  void make_states() const {
    const int64_t items = states.rows();
    if (any_query())
      GTA_LAUNCH((row_states<n, T>), static_cast<unsigned>(ceil_div(items, kStateRows)), kStateThreads, 0, stream,
                 arguments);
  }
  void add_all_sums() const {
    const auto add = [&](const Destination<T>& d, const Tensor& sums, const Tensor& to, int sharing) {
      if (!sums.defined()) return;
      const Threads threads = threads_of(to.rows(), to.columns());
      GTA_LAUNCH(add_sums<T>, threads.grid, threads.block, 0, stream, d, to.rows(), static_cast<int>(to.columns()),
                 sharing / arguments.group);
    };
    add(arguments.d_k, k_sums, b.d_k, arguments.p.maps_of_key);
    add(arguments.d_v, v_sums, b.d_v, arguments.p.maps_of_value);
  }
};

// The tiles of a call: of dQ, and of dK and dV, which cut the keys alike.
template <class Q_, class K, class... More>
struct AllTiles {
  using Q = Q_;
  static constexpr int64_t key_rows = K::rows;
  static constexpr size_t shared = std::max({Q::shared, K::shared, More::shared...});
  static_assert(((More::rows == K::rows) && ...));
};

template <class K>
void launch_key_tiles(const Call<bf16>& call) {
  if ((K::of != Of::Values && call.b.d_k.defined()) || (K::of != Of::Keys && call.b.d_v.defined()))
    GTA_LAUNCH(key_tiles<K>, call.key_grid, K::threads, K::shared, call.stream, call.arguments);
}

template <class Q, class... K>
void launch_tiles(const AttentionBackward& b, AllTiles<Q, K...> tiles) {
  const Call<bf16> call(b, tiles.key_rows);
  call.make_states<8>();
  (launch_key_tiles<K>(call), ...);
  call.add_all_sums();
  if (b.d_q.defined() && call.any_query())
    GTA_LAUNCH(query_tiles<Q>, call.query_grid(Q::rows), Q::threads, Q::shared, call.stream, call.arguments);
}

template <class... C>
bool launch_first(const AttentionBackward& b) {
  return with_first_that_fits<C...>(b.d_u.device(), [&](auto tiles) { launch_tiles(b, tiles); });
}

// Whether there were tiles for it.
bool with_tiles(const AttentionBackward& b) {
  const AttentionForward& a = b.forward;
  if (a.q.dtype() != DType::BF16 || !all_aligned({&a.q, &a.k, &a.v, &a.u, &b.d_u, &b.d_q, &b.d_k, &b.d_v}))
    return false;
  const auto is = [&](int64_t dk, int64_t dv) { return a.shape.head_dim == dk && a.shape.value_dim == dv; };
  // Measured on H100 and H200. Two fragments of queries or keys to a warp halve what it reads of the other side, and
  // small blocks, of which two share a multiprocessor, hide each other's waits. Where the heads are narrow dK and dV
  // come from one kernel; where they are wide its registers would not do, and computing S a second time costs less.
  if (is(64, 64)) return launch_first<AllTiles<QueryTiles<64, 64, 4, 2, 48>, KeyTiles<64, 64, Of::Both, 4, 2, 32>>>(b);
  if (is(96, 64)) return launch_first<AllTiles<QueryTiles<96, 64, 4, 2, 32>, KeyTiles<96, 64, Of::Both, 4, 1, 64>>>(b);
  if (is(64, 128))
    return launch_first<AllTiles<QueryTiles<64, 128, 4, 2, 48>, KeyTiles<64, 128, Of::Both, 4, 1, 32>>>(b);
  if (is(128, 128))
    return launch_first<AllTiles<QueryTiles<128, 128, 4, 2, 16>, KeyTiles<128, 128, Of::Keys, 8, 1, 48>,
                                 KeyTiles<128, 128, Of::Values, 4, 2, 48>>,
                        AllTiles<QueryTiles<128, 128, 4, 2, 16>, KeyTiles<128, 128, Of::Keys, 8, 1, 16>,
                                 KeyTiles<128, 128, Of::Values, 4, 2, 48>>>(b);
  if (is(64, 256))
    return launch_first<AllTiles<QueryTiles<64, 256, 4, 2, 16>, KeyTiles<64, 256, Of::Keys, 4, 1, 32>,
                                 KeyTiles<64, 256, Of::Values, 4, 1, 64>>,
                        AllTiles<QueryTiles<64, 256, 4, 1, 32>, KeyTiles<64, 256, Of::Keys, 4, 1, 32>,
                                 KeyTiles<64, 256, Of::Values, 4, 1, 64>>>(b);
  return false;
}

template <class T>
void with_parts(const AttentionBackward& b) {
  const Call<T> call(b, kPart);
  const auto grid = [&](int64_t dim) {
    return dim3(call.key_grid.x * static_cast<unsigned>(ceil_div(dim, kPart)), call.key_grid.y, call.key_grid.z);
  };
  call.template make_states<1>();
  if (b.d_k.defined())
    GTA_LAUNCH((key_parts<T, Of::Keys>), grid(b.forward.shape.head_dim), kPartThreads, 0, call.stream, call.arguments);
  if (b.d_v.defined())
    GTA_LAUNCH((key_parts<T, Of::Values>), grid(b.forward.shape.value_dim), kPartThreads, 0, call.stream,
               call.arguments);
  call.add_all_sums();
  if (b.d_q.defined() && call.any_query())
    GTA_LAUNCH(query_parts<T>, call.query_grid(kPart, ceil_div(b.forward.shape.head_dim, kPart)), kPartThreads, 0,
               call.stream, call.arguments);
}

}  // namespace

void shared_map_attention_backward(const AttentionBackward& b) {
  const AttentionForward& a = b.forward;
  ProfilerRange::add_flops(2.0 * visible_pairs(a) * static_cast<double>(3 * a.shape.head_dim + 2 * a.shape.value_dim));
  if (a.k.rows() == 0 || with_tiles(b)) return;
  dispatch_device(a.q.dtype(), "shared_map_attention", [&](auto zero) { with_parts<decltype(zero)>(b); });
}

}  // namespace gta::cuda
