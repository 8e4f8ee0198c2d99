// One query to a sequence, as when text is generated: U_g = softmax(scale * q_g K^T) V over all keys of the cache, shapes in the header.
//
// There is little to multiply and much to read, so that the keys are cut into chunks and every warp takes one. The maps that share both a key
// and a value head are the rows of its products: what it reads, it reads once for all of them. A chunk c leaves its own softmax,
//   U_c = sum of p V / l_c     L_c = log2(l_c), p = 2^(scale_log2 score)
// and a second kernel puts them together in the order of the chunks: U = sum 2^(L_c - L) U_c, L = log2(sum 2^L_c).
#include <numeric>

#include "layers/attention/shared_map_attention/shared_map_attention_cuda.h"

namespace gta::cuda {
namespace {

using namespace attention;

constexpr int kRows = 16, kKeys = 32, kWarps = 4;
// Warps of all sequences together, and of one: enough to have all of a GPU's memory at work, few enough that their results are little to read.
constexpr int64_t kWantedWarps = 2048, kMostChunks = 256;

struct Decode {
  Problem<bf16> p;
  Rows<bf16> u;
  Rows<float> logsumexp;  // no data when nobody needs it
  int group, chunks, chunk_keys;
  float *chunk_u, *chunk_logsumexp;  // (chunks, batch, maps, dv) and (chunks, batch, maps)

  __device__ __forceinline__ int64_t chunk_row(int chunk, int sequence, int map) const { return (int64_t{chunk} * p.batch + sequence) * p.maps + map; }
};

template <int dk_, int dv_>
struct Tiles {
  static constexpr int dk = dk_, dv = dv_, q_size = kRows * kPitch<dk>, k_size = kKeys * kPitch<dk>, v_size = kKeys * kPitch<dv>;
  static constexpr size_t shared = kWarps * (q_size + k_size + v_size) * sizeof(bf16);
  static_assert(shared <= kMostShared);
};

// Threads (32, kWarps). Warps work for themselves.
template <class C>
__global__ void __launch_bounds__(32 * kWarps) decode_tiles(const Decode a) {
  const Problem<bf16>& p = a.p;
  bf16* const q_tile = dynamic_shared<bf16>() + threadIdx.y * (C::q_size + C::k_size + C::v_size);
  bf16 *const k_tile = q_tile + C::q_size, *const v_tile = k_tile + C::k_size;
  const int row_tiles = (a.group + kRows - 1) / kRows, in_group = static_cast<int>(blockIdx.x) % row_tiles * kRows;
  const int map = static_cast<int>(blockIdx.x) / row_tiles * a.group + in_group, maps = min(kRows, a.group - in_group);
  const int sequence = blockIdx.y, chunk = blockIdx.z * kWarps + threadIdx.y;
  const int first = p.first_key(sequence, 0), begin = chunk * a.chunk_keys, end = min(p.keys, begin + a.chunk_keys);

  // The maps of a query lie one behind the other, like rows of its head dim.
  load_tile<kRows, C::dk, 32>(q_tile, p.q_at(sequence, 0, map), C::dk, maps);
  ptx::cp_async_commit();
  const int lane = threadIdx.x, pair = (lane & 3) * 2;
  Softmax softmax[2];
  float u[1][C::dv / 8][4] = {};
  for (int key = begin; key < end; key += kKeys) {
    if (key + kKeys <= first) continue;
    load_tile<kKeys, C::dk, 32>(k_tile, p.k_at(sequence, key, map), p.k.pitch, end - key);
    load_tile<kKeys, C::dv, 32>(v_tile, p.v_at(sequence, key, map), p.v.pitch, end - key);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncwarp();
    float s[1][kKeys / 8][4] = {};
    multiply_rows<C::dk>(s, q_tile, k_tile);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float largest = -kInfinity;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          const int column = key + 8 * j + pair + e % 2;
          if (column < first || column >= end) s[0][j][e] = -kInfinity;
          largest = fmaxf(largest, s[0][j][e]);
        }
      float factor;
      const float base = softmax[h].advance(quad_max(largest), p.scale_log2, factor);
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          s[0][j][e] = ptx::exp2_approx(s[0][j][e] * p.scale_log2 - base);
          softmax[h].sum += s[0][j][e];
        }
#pragma unroll
      for (int j = 0; j < C::dv / 8; ++j) {
        u[0][j][2 * h] *= factor;
        u[0][j][2 * h + 1] *= factor;
      }
    }
    multiply_map(u, s, v_tile);
    __syncwarp();  // before the next tile takes this one's place
  }
  ptx::cp_async_wait<0>();

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    // A chunk that shows no key has the weight zero.
    const float sum = quad_sum(softmax[h].sum), inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    const int r = (lane >> 2) + 8 * h;
    if (r >= maps || chunk >= a.chunks) continue;
    const int64_t to = a.chunk_row(chunk, sequence, map + r);
#pragma unroll
    for (int j = 0; j < C::dv / 8; ++j)
      *reinterpret_cast<float2*>(a.chunk_u + to * C::dv + 8 * j + pair) = {u[0][j][2 * h] * inverse, u[0][j][2 * h + 1] * inverse};
    if (pair == 0) a.chunk_logsumexp[to] = sum == 0.0f ? -kInfinity : softmax[h].largest * p.scale_log2 + log2f(sum);
  }
}

// A block puts one map of one sequence together.
__global__ void __launch_bounds__(128) decode_chunks(const Decode a) {
  const Problem<bf16>& p = a.p;
  const int map = blockIdx.x, sequence = blockIdx.y;
  float largest = -kInfinity, sum = 0;
  for (int chunk = 0; chunk < a.chunks; ++chunk) largest = fmaxf(largest, a.chunk_logsumexp[a.chunk_row(chunk, sequence, map)]);
  const float base = largest == -kInfinity ? 0.0f : largest;
  for (int chunk = 0; chunk < a.chunks; ++chunk) sum += exp2f(a.chunk_logsumexp[a.chunk_row(chunk, sequence, map)] - base);
  for (int column = threadIdx.x; column < p.value_dim; column += blockDim.x) {
    float u = 0;
    for (int chunk = 0; chunk < a.chunks; ++chunk) {
      const int64_t from = a.chunk_row(chunk, sequence, map);
      u += exp2f(a.chunk_logsumexp[from] - base) * a.chunk_u[from * p.value_dim + column];
    }
    store(*a.u.at(sequence, int64_t{map} * p.value_dim + column), u / sum);
  }
  if (a.logsumexp.data && threadIdx.x == 0) *a.logsumexp.at(sequence, map) = (largest + log2f(sum)) / kLog2E;
}

template <class C>
void launch_tiles(const AttentionForward& a) {
  Decode d = {problem_of<bf16>(a), rows_of<bf16>(a.u), rows_of<float>(a.logsumexp), 0, 0, 0, nullptr, nullptr};
  const Problem<bf16>& p = d.p;
  d.group = std::gcd(p.maps_of_key, p.maps_of_value);
  const int64_t across = int64_t{p.maps / d.group} * ceil_div(d.group, kRows), tiles = ceil_div(p.keys, kKeys);
  const int64_t most = std::clamp<int64_t>(kWantedWarps / (across * p.batch), 1, kMostChunks);
  d.chunk_keys = static_cast<int>(ceil_div(tiles, most) * kKeys);
  d.chunks = static_cast<int>(ceil_div(p.keys, d.chunk_keys));
  const Tensor chunk_u = Tensor::empty({int64_t{d.chunks} * p.batch * p.maps, C::dv}, DType::F32, a.q.device(), Purpose::Workspace);
  const Tensor chunk_logsumexp = Tensor::empty({chunk_u.rows()}, DType::F32, a.q.device(), Purpose::Workspace);
  d.chunk_u = chunk_u.data<float>();
  d.chunk_logsumexp = chunk_logsumexp.data<float>();
  const unsigned batch = static_cast<unsigned>(p.batch);
  const cudaStream_t stream = stream_of(a.q.device());
  GTA_LAUNCH(decode_tiles<C>, dim3(static_cast<unsigned>(across), batch, static_cast<unsigned>(ceil_div(d.chunks, kWarps))), dim3(32, kWarps), C::shared,
             stream, d);
  GTA_LAUNCH(decode_chunks, dim3(static_cast<unsigned>(p.maps), batch), 128, 0, stream, d);
}

template <class C>
bool launch_first(const AttentionForward& a) {
  return with_first_that_fits<C>(a.q.device(), [&](auto tiles) { launch_tiles<decltype(tiles)>(a); });
}

}  // namespace

bool attention::decode_with_tiles(const AttentionForward& a) {
  if (a.q.dtype() != DType::BF16 || a.q.rows() != a.shape.batch || !all_aligned({&a.q, &a.k, &a.v, &a.u})) return false;
  const auto is = [&](int64_t dk, int64_t dv) { return a.shape.head_dim == dk && a.shape.value_dim == dv; };
  if (is(64, 64)) return launch_first<Tiles<64, 64>>(a);
  if (is(64, 128)) return launch_first<Tiles<64, 128>>(a);
  if (is(64, 256)) return launch_first<Tiles<64, 256>>(a);
  if (is(96, 64)) return launch_first<Tiles<96, 64>>(a);
  if (is(128, 128)) return launch_first<Tiles<128, 128>>(a);
  return false;
}

}  // namespace gta::cuda
