// A_g = softmax(scale * Q_g K_{g / (nq/nk)}^T) over the visible keys,  U_g = A_g V_{g / (nq/nv)},  L = logsumexp;
// shapes in the header.
//
// A block owns a tile of queries of one map and walks the tiles of keys that they see, with a running maximum m and sum
// l of every row:
//   m' = max(m, row of S)   P = exp(scale (S - m'))   l = l exp(scale (m - m')) + sum P
//   U = U exp(scale (m - m')) + P V
// and U / l at the end. Tiles after the diagonal and before every document are not looked at.
#include "layers/attention/shared_map_attention/shared_map_attention_cuda.h"

namespace gta::cuda {
namespace {

using namespace attention;

template <class T, class K = T>
struct Forward {
  Problem<T, K> p;
  Rows<T> u;
  Rows<float> logsumexp;  // no data when nobody needs it
};

// Warps of 16 * m rows each; two stages of key and value tiles.
template <int dk_, int dv_, int warps, int m_, int keys_>
struct Tiles {
  static constexpr int dk = dk_, dv = dv_, m = m_, keys = keys_, threads = 32 * warps, rows = 16 * m * warps;
  static constexpr int q_size = rows * kPitch<dk>, k_size = keys * kPitch<dk>, v_size = keys * kPitch<dv>;
  static constexpr size_t shared = (q_size + 2 * (k_size + v_size)) * sizeof(bf16);
  static_assert(keys % 16 == 0 && shared <= kMostShared);
};

template <class C>
__global__ void __launch_bounds__(C::threads, 1) forward_tiles(const Forward<bf16> a) {
  const Problem<bf16>& p = a.p;
  bf16* const q_tile = dynamic_shared<bf16>();
  bf16* const k_tiles = q_tile + C::q_size;
  bf16* const v_tiles = k_tiles + 2 * C::k_size;
  GTA_SHARED_ARRAY(int, row_first, [C::rows]);
  GTA_SHARED_ARRAY(int, scratch, [32]);

  // Long rows first, so that the blocks end together.
  const int map = blockIdx.x, sequence = blockIdx.y, query = (gridDim.z - 1 - blockIdx.z) * C::rows,
            query_count = min(C::rows, p.queries - query);
  const KeyRange keys = p.keys_of(sequence);
  const int first = first_key_of(p, sequence, query, query_count, scratch) / C::keys * C::keys;
  const int end = keys.offset + query + query_count;

  const bf16* k = Pieces<C::dk, C::threads>::own(p.k_at(keys, first, map), p.k.pitch);
  const bf16* v = Pieces<C::dv, C::threads>::own(p.v_at(keys, first, map), p.v.pitch);
  // The next tile.
  const auto load_keys = [&](int key, int stage) {
    load_own<C::keys, C::dk, C::threads>(k_tiles + stage * C::k_size, k, p.k.pitch, keys.count - key);
    load_own<C::keys, C::dv, C::threads>(v_tiles + stage * C::v_size, v, p.v.pitch, keys.count - key);
    ptx::cp_async_commit();
    k += C::keys * p.k.pitch;
    v += C::keys * p.v.pitch;
  };
  load_tile<C::rows, C::dk, C::threads>(q_tile, p.q_at(sequence, query, map), p.q.pitch, query_count);
  load_keys(first, 0);

  // This lane's rows: row + 8 i of the tile.
  const int lane = threadIdx.x & 31, warp_row = (threadIdx.x >> 5) * 16 * C::m, row = warp_row + (lane >> 2),
            pair = (lane & 3) * 2;
  Softmax softmax[2 * C::m];
  float u[C::m][C::dv / 8][4] = {};
  // In shared memory because registers are short; the loop's first barrier comes before it is read.
  if (p.starts)
    for (int r = threadIdx.x; r < C::rows; r += C::threads)
      row_first[r] = p.first_key(sequence, query + min(r, query_count - 1));

  for (int key = first, stage = 0; key < end; key += C::keys, stage ^= 1) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // and every warp is done with the other stage
    if (key + C::keys < end) load_keys(key + C::keys, stage ^ 1);
    const int warp_position = keys.offset + query + warp_row;
    // After the diagonal for all rows of this warp, or no row of it is there.
    if (key >= warp_position + 16 * C::m || warp_row >= query_count) continue;

    float s[C::m][C::keys / 8][4] = {};
    multiply_rows<C::dk>(s, q_tile + warp_row * kPitch<C::dk>, k_tiles + stage * C::k_size);
    if (p.starts || key + C::keys - 1 > warp_position) {  // a branch of whole warps: most tiles need no mask
      for_rows<C::m>(row, [&](int i, int r) {
        const int position = keys.offset + query + r, visible = p.starts ? row_first[r] : 0;
        for_columns<C::keys / 8>(key + pair, [&](int j, int column) {
          if (column > position || column < visible) at(s, i, j) = -kInfinity;
        });
      });
    }
    for_rows<C::m>(row, [&](int i, int) {
      float largest = -kInfinity, factor;
      for_pairs(s, i, pair, [&](int, float x, float y) { largest = fmaxf(largest, fmaxf(x, y)); });
      const float base = softmax[i].advance(quad_max(largest), p.scale_log2, factor);
      for_columns<C::keys / 8>(pair, [&](int j, int) {
        at(s, i, j) = ptx::exp2_approx(at(s, i, j) * p.scale_log2 - base);
        softmax[i].sum += at(s, i, j);
      });
      for_columns<C::dv / 8>(pair, [&](int j, int) { at(u, i, j) *= factor; });
    });
    multiply_map(u, s, v_tiles + stage * C::v_size);
  }

  for_rows<C::m>(row, [&](int i, int r) {
    const float sum = quad_sum(softmax[i].sum), inverse = 1.0f / sum;
    if (r >= query_count) return;
    const int64_t to = p.query_row(sequence, query + r);
    for_pairs(u, i, map * C::dv + pair, [&](int column, float x, float y) {
      const float values[2] = {x * inverse, y * inverse};
      store_vector(a.u.at(to, column), values);
    });
    if (a.logsumexp.data && pair == 0) *a.logsumexp.at(to, map) = softmax[i].largest * p.scale + logf(sum);
  });
}

// 64 columns of U: the blocks of one map compute its scores each for itself.
template <class T, class K>
__global__ void __launch_bounds__(kPartThreads) forward_parts(const Forward<T, K> a) {
  const Problem<T, K>& p = a.p;
  GTA_SHARED_ARRAY(PartScratch, scratch, [1]);
  GTA_SHARED_ARRAY(int, scratch_of_first, [32]);
  const int map = blockIdx.x % p.maps, sequence = blockIdx.y;
  const int query = (gridDim.z - 1 - blockIdx.z) * kPart, query_count = min(kPart, p.queries - query);
  const int column = blockIdx.x / p.maps * kPart, columns = min(kPart, p.value_dim - column);
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  const KeyRange keys = p.keys_of(sequence);
  const int first = first_key_of(p, sequence, query, query_count, scratch_of_first),
            end = keys.offset + query + query_count;
  Softmax softmax[4];
  Part u = {};
  int row_first[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) row_first[i] = p.first_key(sequence, query + min(y + 16 * i, query_count - 1));

  for (int key = first; key < end; key += kPart) {
    const int key_count = min(kPart, end - key);
    Part s = {};
    multiply_rows(s, scratch[0], p.q_at(sequence, query, map), p.q.pitch, query_count, p.k_at(keys, key, map),
                  p.k.pitch, key_count, p.head_dim);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float largest = -kInfinity, sum = 0, factor;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int k = key + x + 16 * j;
        if (k > keys.offset + query + y + 16 * i || k < row_first[i]) s[i][j] = -kInfinity;
        largest = fmaxf(largest, s[i][j]);
      }
      const float base = softmax[i].advance(warp_max<kRowLanes>(largest), p.scale_log2, factor);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float weight = exp2f(s[i][j] * p.scale_log2 - base);
        scratch[0].map[(y + 16 * i) * kPartPitch + x + 16 * j] = weight;
        sum += weight;
        u[i][j] *= factor;
      }
      softmax[i].sum += warp_sum<kRowLanes>(sum);
    }
    multiply_map(u, scratch[0], p.v_at(keys, key, map) + column, p.v.pitch, key_count, columns);
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (y + 16 * i >= query_count) continue;
    const int64_t to = p.query_row(sequence, query + y + 16 * i);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (x + 16 * j < columns)
        store(*a.u.at(to, int64_t{map} * p.value_dim + column + x + 16 * j), u[i][j] / softmax[i].sum);
    if (a.logsumexp.data && x == 0 && column == 0)
      *a.logsumexp.at(to, map) = softmax[i].largest * p.scale + logf(softmax[i].sum);
  }
}

// The larger one, or the NaN.
__host__ __device__ __forceinline__ float larger_or_nan(float a, float b) { return b > a || b != b ? b : a; }

// out[block]: the largest unscaled score of a part of queries of one map.
template <class T>
__global__ void __launch_bounds__(kPartThreads) largest_scores(const Problem<T> p, float* out) {
  GTA_SHARED_ARRAY(PartScratch, scratch, [1]);
  GTA_SHARED_ARRAY(float, of_warps, [kPartThreads / 32]);
  const int map = blockIdx.x, sequence = blockIdx.y;
  const int query = blockIdx.z * kPart, query_count = min(kPart, p.queries - query),
            end = p.offset + query + query_count;
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  float largest = -kInfinity;
  for (int key = 0; key < end; key += kPart) {
    Part s = {};
    multiply_rows(s, scratch[0], p.q_at(sequence, query, map), p.q.pitch, query_count, p.k_at(sequence, key, map),
                  p.k.pitch, min(kPart, end - key), p.head_dim);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = y + 16 * i, k = key + x + 16 * j;
        if (row < query_count && k <= p.offset + query + row && k >= p.first_key(sequence, query + row))
          largest = larger_or_nan(largest, s[i][j]);
      }
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance >>= 1)
    largest = larger_or_nan(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = largest;
  __syncthreads();
  if (threadIdx.x) return;
  for (int warp = 1; warp < kPartThreads / 32; ++warp) largest = larger_or_nan(largest, of_warps[warp]);
  out[(int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = largest;
}

// Maps, and chunks of columns, across; sequences; tiles of queries, the slowest to change.
dim3 grid_of(const AttentionForward& a, int64_t rows, int64_t chunks = 1) {
  return dim3(static_cast<unsigned>(a.shape.query_heads * chunks), static_cast<unsigned>(a.shape.batch),
              static_cast<unsigned>(ceil_div(a.queries(), rows)));
}

template <class T, class K = T>
Forward<T, K> arguments_of(const AttentionForward& a) {
  return {problem_of<T, K>(a), rows_of<T>(a.u), rows_of<float>(a.logsumexp)};
}

template <class C>
void launch_tiles(const AttentionForward& a) {
  GTA_LAUNCH(forward_tiles<C>, grid_of(a, C::rows), C::threads, C::shared, stream_of(a.q.device()),
             arguments_of<bf16>(a));
}

template <class... C>
bool launch_first(const AttentionForward& a) {
  return with_first_that_fits<C...>(a.q.device(), [&](auto tiles) { launch_tiles<decltype(tiles)>(a); });
}

// Whether there were tiles for it.
bool with_tiles(const AttentionForward& a) {
  if (!all_bfloat16(a) || !all_aligned({&a.q, &a.k, &a.v, &a.u})) return false;
  const auto is = [&](int64_t dk, int64_t dv) { return a.shape.head_dim == dk && a.shape.value_dim == dv; };
  // Two fragments of rows to a warp halve what it reads of K and V; with 256 columns of U there are registers for one.
  if (is(64, 64)) return launch_first<Tiles<64, 64, 4, 2, 64>>(a);
  if (is(64, 128)) return launch_first<Tiles<64, 128, 4, 2, 32>>(a);
  if (is(64, 256)) return launch_first<Tiles<64, 256, 8, 1, 64>, Tiles<64, 256, 8, 1, 32>>(a);
  if (is(96, 64)) return launch_first<Tiles<96, 64, 4, 2, 64>>(a);
  if (is(128, 128)) return launch_first<Tiles<128, 128, 4, 2, 32>>(a);
  return false;
}

}  // namespace

void shared_map_attention_forward(const AttentionForward& a) {
  ProfilerRange::add_flops(2.0 * visible_pairs(a) * static_cast<double>(a.shape.head_dim + a.shape.value_dim));
  if (a.u.elements() == 0 || decode_with_tiles(a) || with_tiles(a)) return;
  dispatch_device(a.q.dtype(), "shared_map_attention", [&](auto query) {
    dispatch_device(a.k.dtype(), "shared_map_attention", [&](auto key) {
      using T = decltype(query);
      using K = decltype(key);
      GTA_LAUNCH((forward_parts<T, K>), grid_of(a, kPart, ceil_div(a.shape.value_dim, kPart)), kPartThreads, 0,
                 stream_of(a.q.device()), arguments_of<T, K>(a));
    });
  });
}

double shared_map_attention_largest_score(const AttentionForward& a) {
  float largest = -kInfinity;
  if (a.q.elements() == 0) return largest;
  const dim3 grid = grid_of(a, kPart);
  const Tensor of_blocks =
      Tensor::empty({int64_t{grid.x} * grid.y * grid.z}, DType::F32, a.q.device(), Purpose::Workspace);
  dispatch_device(a.q.dtype(), "shared_map_attention_largest_score", [&](auto zero) {
    using T = decltype(zero);
    GTA_LAUNCH(largest_scores<T>, grid, kPartThreads, 0, stream_of(a.q.device()), problem_of<T>(a),
               of_blocks.data<float>());
  });
  for (float score : of_blocks.to_vector<float>()) largest = larger_or_nan(largest, score);
  return static_cast<double>(largest) * a.shape.scale;
}

}  // namespace gta::cuda
