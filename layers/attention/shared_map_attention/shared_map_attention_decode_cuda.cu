// One query to a sequence, as when text is generated: U_g = softmax(scale * q_g K^T) V over all keys of the cache,
// shapes in the header.
//
// There is little to multiply and much to read. The maps that share both a key and a value head are the rows of a
// block's products: what it reads, it reads once for all of them; and where values are the first columns of the keys,
// as the latent of MLA's absorbed decoding is, one tile is both. Where sequences and heads are few, keys are cut into
// chunks, a block each. A chunk c leaves its own softmax,
//   U_c = sum of p V / l_c     L_c = log2(l_c), p = 2^(scale_log2 score)
// and a second kernel puts them together in an order that their number decides: U = sum 2^(L_c - L) U_c, L = log2(sum
// 2^L_c).
#include <numeric>

#include "layers/attention/shared_map_attention/shared_map_attention_cuda.h"

namespace gta::cuda {
namespace {

using namespace attention;

constexpr int kKeys = 64, kWarps = 4, kThreads = 32 * kWarps;
// Blocks of all sequences together, and chunks of one: enough to have all of a GPU's memory at work, few enough that
// their results are little to read. Numbers of no device: the same call gives the same bits on all.
constexpr int64_t kWantedBlocks = 512;
constexpr int kMostChunks = 256;

struct Decode {
  Problem<bf16> p;
  Rows<bf16> u;
  Rows<float> logsumexp;  // no data when nobody needs it
  int group, chunks, chunk_keys;
  // (chunks, batch, maps, dv) and (chunks, batch, maps); no data for one chunk, which is the result
  float *chunk_u, *chunk_logsumexp;

  __device__ __forceinline__ int64_t chunk_row(int chunk, int sequence, int map) const {
    return (int64_t{chunk} * p.batch + sequence) * p.maps + map;
  }
};

enum class Values { Separate, FirstColumnsOfKeys };

// 16 m maps, and one or two tiles of keys and values.
template <int dk_, int dv_, int m_, int stages_, Values values = Values::Separate>
struct Tiles {
  static constexpr int dk = dk_, dv = dv_, m = m_, stages = stages_, rows = 16 * m;
  static constexpr bool separate = values == Values::Separate;
  static constexpr int q_size = rows * kPitch<dk>, k_size = kKeys * kPitch<dk>,
                       v_size = separate ? kKeys * kPitch<dv> : 0, map_size = rows * kPitch<kKeys>;
  static constexpr int v_pitch = separate ? kPitch<dv> : kPitch<dk>;
  static constexpr int columns = dv / kWarps;  // of U, a warp's own
  static constexpr size_t shared = (q_size + map_size + stages * (k_size + v_size)) * sizeof(bf16);
  static_assert(columns % 16 == 0 && shared <= kMostShared);
};

// D (16 m, 8 n) += P B: P (16 m, kKeys) and B's columns from shared memory.
template <int pitch, int m, int n>
__device__ __forceinline__ void multiply_values(float (&d)[m][n][4], const bf16* p, const bf16* b) {
  const int lane = threadIdx.x & 31;
  p += (lane & 15) * kPitch<kKeys> + (lane >> 4) * 8;
  b += (lane & 15) * pitch + (lane >> 4) * 8;
#pragma unroll
  for (int k = 0; k < kKeys; k += 16) {
    uint32_t left[m][4];
#pragma unroll
    for (int i = 0; i < m; ++i) ptx::ldmatrix_x4(left[i], p + i * 16 * kPitch<kKeys> + k);
#pragma unroll
    for (int j = 0; j < n; j += 2) {
      uint32_t right[4];
      ptx::ldmatrix_x4_transposed(right, b + k * pitch + j * 8);
#pragma unroll
      for (int i = 0; i < m; ++i) {
        ptx::mma_m16n8k16(d[i][j], left[i], {right[0], right[1]});
        ptx::mma_m16n8k16(d[i][j + 1], left[i], {right[2], right[3]});
      }
    }
  }
}

// A block has up to C::rows maps of one sequence and one chunk. Its warps share a tile's scores by keys and U by
// columns.
template <class C>
__global__ void __launch_bounds__(kThreads) decode_tiles(const Decode a) {
  const Problem<bf16>& p = a.p;
  bf16* const q_tile = dynamic_shared<bf16>();
  bf16* const map_tile = q_tile + C::q_size;
  bf16* const k_tiles = map_tile + C::map_size;
  bf16* const v_tiles = C::separate ? k_tiles + C::stages * C::k_size : k_tiles;
  GTA_SHARED_ARRAY(float, of_warps, [kWarps][C::rows]);
  const int row_tiles = (a.group + C::rows - 1) / C::rows,
            in_group = static_cast<int>(blockIdx.x) % row_tiles * C::rows;
  const int map = static_cast<int>(blockIdx.x) / row_tiles * a.group + in_group,
            maps = min(C::rows, a.group - in_group);
  const int sequence = blockIdx.y, chunk = blockIdx.z;
  const KeyRange keys = p.keys_of(sequence);
  const int first = p.first_key(sequence, 0), end = min(keys.count, (chunk + 1) * a.chunk_keys);
  const int begin = max(chunk * a.chunk_keys, first / kKeys * kKeys);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = lane >> 2, pair = (lane & 3) * 2;

  const auto load_keys = [&](int key, int stage) {
    load_tile<kKeys, C::dk, kThreads>(k_tiles + stage * C::k_size, p.k_at(keys, key, map), p.k.pitch, end - key);
    if constexpr (C::separate)
      load_tile<kKeys, C::dv, kThreads>(v_tiles + stage * C::v_size, p.v_at(keys, key, map), p.v.pitch, end - key);
    ptx::cp_async_commit();
  };
  // The maps of a query lie one behind the other, like rows of its head dim.
  load_tile<C::rows, C::dk, kThreads>(q_tile, p.q_at(sequence, 0, map), C::dk, maps);
  ptx::cp_async_commit();
  if (begin < end) load_keys(begin, 0);

  Softmax softmax[C::m][2];  // largest: of the block; sum: of this lane's columns
  float u[C::m][C::columns / 8][4] = {};
  for (int key = begin, stage = 0; key < end; key += kKeys) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // and every warp is done with the other stage
    if (C::stages == 2 && key + kKeys < end) load_keys(key + kKeys, stage ^ 1);
    const bf16 *const k_tile = k_tiles + stage * C::k_size, *const v_tile =
                                                                v_tiles + stage * (C::separate ? C::v_size : C::k_size);
    float s[C::m][2][4] = {};
    multiply_rows<C::dk>(s, q_tile, k_tile + 16 * warp * kPitch<C::dk>);
#pragma unroll
    for (int i = 0; i < C::m; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float largest = -kInfinity;
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) {
            const int column = key + 16 * warp + 8 * j + pair + e % 2;
            if (column < first || column >= end) s[i][j][e] = -kInfinity;
            largest = fmaxf(largest, s[i][j][e]);
          }
        largest = quad_max(largest);
        if (pair == 0) of_warps[warp][row + 16 * i + 8 * h] = largest;
      }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < C::m; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int r = row + 16 * i + 8 * h;
        float largest = of_warps[0][r], factor;
#pragma unroll
        for (int w = 1; w < kWarps; ++w) largest = fmaxf(largest, of_warps[w][r]);
        const float base = softmax[i][h].advance(largest, p.scale_log2, factor);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float weights[2];
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            weights[e] = ptx::exp2_approx(s[i][j][2 * h + e] * p.scale_log2 - base);
            softmax[i][h].sum += weights[e];
          }
          store_vector(map_tile + r * kPitch<kKeys> + 16 * warp + 8 * j + pair, weights);
        }
#pragma unroll
        for (int j = 0; j < C::columns / 8; ++j) {
          u[i][j][2 * h] *= factor;
          u[i][j][2 * h + 1] *= factor;
        }
      }
    __syncthreads();
    multiply_values<C::v_pitch>(u, map_tile, v_tile + warp * C::columns);
    if (C::stages == 2) {
      stage ^= 1;
    } else if (key + kKeys < end) {
      __syncthreads();  // before the next tile takes this one's place
      load_keys(key + kKeys, 0);
    }
  }
  ptx::cp_async_wait<0>();

  // The largest scores there have been read before the loop's last barrier.
#pragma unroll
  for (int i = 0; i < C::m; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float sum = quad_sum(softmax[i][h].sum);
      if (pair == 0) of_warps[warp][row + 16 * i + 8 * h] = sum;
    }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < C::m; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = row + 16 * i + 8 * h;
      float sum = of_warps[0][r];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) sum += of_warps[w][r];
      if (r >= maps) continue;
      // A chunk that shows no key has the weight zero; all keys together do show one.
      const float inverse = sum == 0.0f && a.chunk_u ? 0.0f : 1.0f / sum;
      const float logsumexp = sum == 0.0f ? -kInfinity : softmax[i][h].largest * p.scale_log2 + log2f(sum);
      const int64_t to = a.chunk_row(chunk, sequence, map + r);
#pragma unroll
      for (int j = 0; j < C::columns / 8; ++j) {
        const int column = warp * C::columns + 8 * j + pair;
        const float values[2] = {u[i][j][2 * h] * inverse, u[i][j][2 * h + 1] * inverse};
        if (a.chunk_u)
          *reinterpret_cast<float2*>(a.chunk_u + to * C::dv + column) = {values[0], values[1]};
        else
          store_vector(a.u.at(sequence, int64_t{map + r} * C::dv + column), values);
      }
      if (warp == 0 && pair == 0) {
        if (a.chunk_logsumexp)
          a.chunk_logsumexp[to] = logsumexp;
        else if (a.logsumexp.data)
          *a.logsumexp.at(sequence, map + r) = logsumexp / kLog2E;
      }
    }
}

constexpr int kSumWarps = 8, kSumColumns = 4 * 32;

// Puts kSumColumns columns of one map of one sequence together. Threads (32, kSumWarps): a lane has four columns, a
// warp every kSumWarps-th chunk.
__global__ void __launch_bounds__(32 * kSumWarps) decode_chunks(const Decode a) {
  const Problem<bf16>& p = a.p;
  GTA_SHARED_ARRAY(float, weights, [kMostChunks]);
  GTA_SHARED_ARRAY(float, of_warps, [kSumWarps]);
  GTA_SHARED_ARRAY(float, sums, [kSumWarps][kSumColumns]);
  const int map = blockIdx.x, sequence = blockIdx.y, column = blockIdx.z * kSumColumns + threadIdx.x * 4;
  const int warp = threadIdx.y, thread = warp * 32 + threadIdx.x;
  float largest = -kInfinity;
  for (int chunk = thread; chunk < a.chunks; chunk += 32 * kSumWarps)
    largest = fmaxf(largest, a.chunk_logsumexp[a.chunk_row(chunk, sequence, map)]);
  largest = warp_max(largest);
  if (threadIdx.x == 0) of_warps[warp] = largest;
  __syncthreads();
  for (int w = 0; w < kSumWarps; ++w) largest = fmaxf(largest, of_warps[w]);
  const float base = largest == -kInfinity ? 0.0f : largest;
  for (int chunk = thread; chunk < a.chunks; chunk += 32 * kSumWarps)
    weights[chunk] = exp2f(a.chunk_logsumexp[a.chunk_row(chunk, sequence, map)] - base);
  __syncthreads();

  float sum[4] = {}, weight = 0;
#pragma unroll 8
  for (int chunk = warp; chunk < a.chunks; chunk += kSumWarps) {
    weight += weights[chunk];
    if (column >= p.value_dim) continue;
    float u[4];
    load_vector(u, a.chunk_u + a.chunk_row(chunk, sequence, map) * p.value_dim + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += weights[chunk] * u[i];
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[warp][threadIdx.x * 4 + i] = sum[i];
  if (threadIdx.x == 0) of_warps[warp] = weight;  // the largest there have been read before the barrier
  __syncthreads();
  if (warp > 0) return;
  for (int w = 1; w < kSumWarps; ++w) weight += of_warps[w];
  if (column < p.value_dim) {
    for (int w = 1; w < kSumWarps; ++w)
      for (int i = 0; i < 4; ++i) sum[i] += sums[w][threadIdx.x * 4 + i];
    for (int i = 0; i < 4; ++i) sum[i] /= weight;
    store_vector(a.u.at(sequence, int64_t{map} * p.value_dim + column), sum);
  }
  if (a.logsumexp.data && column == 0) *a.logsumexp.at(sequence, map) = (largest + log2f(weight)) / kLog2E;
}

template <class C>
void launch_tiles(const AttentionForward& a) {
  Decode d = {problem_of<bf16>(a), rows_of<bf16>(a.u), rows_of<float>(a.logsumexp), 0, 0, 0, nullptr, nullptr};
  const Problem<bf16>& p = d.p;
  d.group = std::gcd(p.maps_of_key, p.maps_of_value);
  const int64_t across = int64_t{p.maps / d.group} * ceil_div(d.group, C::rows), tiles = ceil_div(p.keys, kKeys);
  const int64_t most = std::clamp<int64_t>(kWantedBlocks / (across * p.batch), 1, kMostChunks);
  d.chunk_keys = static_cast<int>(ceil_div(tiles, most) * kKeys);
  d.chunks = static_cast<int>(ceil_div(p.keys, d.chunk_keys));
  Tensor chunk_u, chunk_logsumexp;
  if (d.chunks > 1) {
    chunk_u =
        Tensor::empty({int64_t{d.chunks} * p.batch * p.maps, C::dv}, DType::F32, a.q.device(), Purpose::Workspace);
    chunk_logsumexp = Tensor::empty({chunk_u.rows()}, DType::F32, a.q.device(), Purpose::Workspace);
    d.chunk_u = chunk_u.data<float>();
    d.chunk_logsumexp = chunk_logsumexp.data<float>();
  }
  const unsigned batch = static_cast<unsigned>(p.batch);
  const cudaStream_t stream = stream_of(a.q.device());
  GTA_LAUNCH(decode_tiles<C>, dim3(static_cast<unsigned>(across), batch, static_cast<unsigned>(d.chunks)), kThreads,
             C::shared, stream, d);
  if (d.chunks > 1)
    GTA_LAUNCH(decode_chunks,
               dim3(static_cast<unsigned>(p.maps), batch, static_cast<unsigned>(ceil_div(C::dv, kSumColumns))),
               dim3(32, kSumWarps), 0, stream, d);
}

template <class... C>
bool launch_first(const AttentionForward& a) {
  return with_first_that_fits<C...>(a.q.device(), [&](auto tiles) { launch_tiles<decltype(tiles)>(a); });
}
// Two rows of fragments where maps fill more than one: keys are read half as often. How many stages there are changes
// no bit.
template <int dk, int dv>
bool launch_separate(const AttentionForward& a, int64_t group) {
  return group > 16 ? launch_first<Tiles<dk, dv, 2, 2>, Tiles<dk, dv, 2, 1>>(a)
                    : launch_first<Tiles<dk, dv, 1, 2>, Tiles<dk, dv, 1, 1>>(a);
}

}  // namespace

bool attention::decode_with_tiles(const AttentionForward& a) {
  if (!all_bfloat16(a) || a.q.rows() != a.shape.batch || !all_aligned({&a.q, &a.k, &a.v, &a.u})) return false;
  const AttentionShape& s = a.shape;
  const auto is = [&](int64_t dk, int64_t dv) { return s.head_dim == dk && s.value_dim == dv; };
  const int64_t group = std::gcd(s.query_heads / s.key_heads, s.query_heads / s.value_heads);
  if (is(64, 64)) return launch_separate<64, 64>(a, group);
  if (is(64, 128)) return launch_separate<64, 128>(a, group);
  if (is(64, 256)) return launch_separate<64, 256>(a, group);
  if (is(96, 64)) return launch_separate<96, 64>(a, group);
  if (is(128, 128)) return launch_separate<128, 128>(a, group);

  // MLA: a latent of 256, 320 or 512 and 32 or 64 columns of RoPE. Tiles are so large that blocks beside each other
  // hide the reading, not stages.
  if (s.key_heads != 1 || s.value_heads != 1 || a.k.raw_data() != a.v.raw_data() || a.k.pitch() != a.v.pitch())
    return false;
  constexpr Values latent = Values::FirstColumnsOfKeys;
  if (is(288, 256))
    return group > 16 ? launch_first<Tiles<288, 256, 2, 1, latent>>(a) : launch_first<Tiles<288, 256, 1, 1, latent>>(a);
  if (is(352, 320))
    return group > 16 ? launch_first<Tiles<352, 320, 2, 1, latent>>(a) : launch_first<Tiles<352, 320, 1, 1, latent>>(a);
  if (is(576, 512)) return launch_first<Tiles<576, 512, 1, 1, latent>>(a);
  return false;
}

}  // namespace gta::cuda
