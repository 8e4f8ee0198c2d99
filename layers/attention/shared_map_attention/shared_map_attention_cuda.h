// What the CUDA kernels of the core share: the sizes and rows of a call, and two kits to build the kernels from.
//
// Tiles (core/backends/cuda/tiles.h), for bfloat16 with head dims known at compile time. Two products are all that the
// core needs:
//   multiply_rows   S = Q K^T and dA = dU V^T, or their transposes
//   multiply_map    U += A V, dQ += dS K, dV += A^T dU, dK += dS^T Q, the map in fragments from the product before
// A map never leaves its warp's registers.
//
// Parts, for every other type, pair of types, head dim and alignment: 256 threads hold 64 x 64 numbers of a product in
// float32; the same two products.
#pragma once

#include <limits>

#include "core/backends/cuda/tiles.h"
#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta::cuda::attention {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kLog2E = 1.4426950408889634f;

// The keys of one sequence.
struct KeyRange {
  int64_t row;        // of K and V, of the first
  int count, offset;  // offset: position of the first query
};

// The call as kernels see it. Sequence s has query rows s * queries + i and key rows s * keys + j; in a cache, where
// only forward reads, keys_of() knows more, and keys and values are of a type of their own.
template <class T, class K = T>
struct Problem {
  int batch, queries, keys, offset;  // offset: position of the first query; of the sequence that has most keys
  // nq, and how many maps share one key head (nq / nk) or value head (nq / nv)
  int maps, maps_of_key, maps_of_value;
  int head_dim, value_dim;  // dk, dv
  float scale, scale_log2;  // of the scores, and times log2(e) for exponentials to the base 2
  Rows<const T> q;
  Rows<const K> k, v;
  const int32_t* starts;
  const int32_t *first_keys, *key_counts;  // of the sequences in a cache, or nullptr

  __device__ __forceinline__ KeyRange keys_of(int sequence) const {
    if (!key_counts) return {int64_t{sequence} * keys, keys, offset};
    return {first_keys[sequence], key_counts[sequence], key_counts[sequence] - queries};
  }
  __device__ __forceinline__ const K* k_at(const KeyRange& of, int key, int map) const {
    return k.at(of.row + key, int64_t{map / maps_of_key} * head_dim);
  }
  __device__ __forceinline__ const K* v_at(const KeyRange& of, int key, int map) const {
    return v.at(of.row + key, int64_t{map / maps_of_value} * value_dim);
  }
  __device__ __forceinline__ int64_t query_row(int sequence, int query) const {
    return int64_t{sequence} * queries + query;
  }
  __device__ __forceinline__ int64_t key_row(int sequence, int key) const { return int64_t{sequence} * keys + key; }
  __device__ __forceinline__ const T* q_at(int sequence, int query, int map) const {
    return q.at(query_row(sequence, query), int64_t{map} * head_dim);
  }
  __device__ __forceinline__ const K* k_at(int sequence, int key, int map) const {
    return k.at(key_row(sequence, key), int64_t{map / maps_of_key} * head_dim);
  }
  __device__ __forceinline__ const K* v_at(int sequence, int key, int map) const {
    return v.at(key_row(sequence, key), int64_t{map / maps_of_value} * value_dim);
  }
  // The keys [first_key, offset + query] are visible.
  __device__ __forceinline__ int first_key(int sequence, int query) const {
    return starts ? min(max(starts[query_row(sequence, query)], 0), offset + query) : 0;
  }
};

template <class T, class K = T>
Problem<T, K> problem_of(const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  const int64_t queries = a.queries(), keys = a.most_keys();
  require(keys < (int64_t{1} << 30), "shared_map_attention",
          "{} keys of a sequence are more than its CUDA kernels count", keys);
  const float scale = static_cast<float>(s.scale);
  return {static_cast<int>(s.batch),
          static_cast<int>(queries),
          static_cast<int>(keys),
          static_cast<int>(keys - queries),
          static_cast<int>(s.query_heads),
          static_cast<int>(s.query_heads / s.key_heads),
          static_cast<int>(s.query_heads / s.value_heads),
          static_cast<int>(s.head_dim),
          static_cast<int>(s.value_dim),
          scale,
          scale * kLog2E,
          rows_of<const T>(a.q),
          rows_of<const K>(a.k),
          rows_of<const K>(a.v),
          a.document_starts.defined() ? a.document_starts.data<int32_t>() : nullptr,
          a.keys.defined() ? a.keys.first.data<int32_t>() : nullptr,
          a.keys.defined() ? a.keys.count.data<int32_t>() : nullptr};
}

// Forward with one query to a sequence, where there are tiles for it; else nothing and false.
bool decode_with_tiles(const AttentionForward& a);

// Of a block; `scratch` is shared memory for 32 values, free again when the call returns.
__device__ __forceinline__ int block_max(int x, int* scratch) {
#pragma unroll
  for (int distance = 16; distance > 0; distance >>= 1) x = max(x, __shfl_xor_sync(0xffffffffu, x, distance));
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = x;
  __syncthreads();
  for (int warp = 0; warp < static_cast<int>(blockDim.x >> 5); ++warp) x = max(x, scratch[warp]);
  __syncthreads();
  return x;
}

// The first key that any of `count` queries from `query` on sees: no block of theirs needs to look at earlier ones.
template <class T, class K>
__device__ __forceinline__ int first_key_of(const Problem<T, K>& p, int sequence, int query, int count, int* scratch) {
  if (!p.starts) return 0;
  int first = p.keys;
  for (int i = threadIdx.x; i < count; i += blockDim.x) first = min(first, p.first_key(sequence, query + i));
  return -block_max(-first, scratch);
}
// One past the last query that sees any key before `key_end`; every query before it is to be looked at, whatever the
// starts are.
template <class T>
__device__ __forceinline__ int last_query_of(const Problem<T>& p, int sequence, int first_query, int key_end,
                                             int* scratch) {
  if (!p.starts) return p.queries;
  int end = first_query;
  for (int i = first_query + threadIdx.x; i < p.queries; i += blockDim.x)
    if (p.first_key(sequence, i) < key_end) end = i + 1;
  return block_max(end, scratch);
}

// ---- softmax ----

// What one row of scores keeps from one tile of keys to the next.
struct Softmax {
  float largest = -kInfinity, sum = 0;
  // Takes the largest score of a tile. Gives what to subtract from scale_log2 * score before exp2, and the factor for
  // what was summed so far. A row that has seen nothing yet has no largest score: zero keeps its exponentials at zero.
  __device__ __forceinline__ float advance(float tile_largest, float scale_log2, float& factor) {
    const float now = fmaxf(largest, tile_largest), base = now == -kInfinity ? 0.0f : now * scale_log2;
    factor = ptx::exp2_approx(largest * scale_log2 - base);
    largest = now;
    sum *= factor;
    return base;
  }
};

// ---- tiles ----

// Sum and maximum over the four lanes that hold one row of a fragment.
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// What tiles multiply. A float32 cache beside bfloat16 queries would lose in them what it was made for.
inline bool all_bfloat16(const AttentionForward& a) { return a.q.dtype() == DType::BF16 && a.k.dtype() == DType::BF16; }
// Whether tensors may be read and written 16 bytes at a time.
inline bool all_aligned(std::initializer_list<const Tensor*> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const Tensor* tensor) { return aligned_rows(*tensor); });
}

// ---- parts ----

inline constexpr int kPart = 64, kPartThreads = 256, kPartDepth = 32;
inline constexpr int kPartPitch = kPart + 1;
// 64 x 64 numbers: thread (x, y) = (threadIdx.x % 16, threadIdx.x / 16) holds (y + 16 i, x + 16 j) at [i][j].
using Part = float[4][4];
struct PartScratch {
  float a[kPart * (kPartDepth + 1)], b[kPart * (kPartDepth + 1)];
  float map[kPart * kPartPitch];
};
static_assert(kPartDepth * kPartPitch <= kPart * (kPartDepth + 1) && sizeof(PartScratch) <= 48 * 1024);

// rows x columns of a matrix into shared memory, zero where the matrix has none.
template <int rows, int columns, class T>
__device__ __forceinline__ void load_part(float* to, const T* from, int64_t pitch, int row_count, int column_count) {
  for (int i = threadIdx.x; i < rows * columns; i += kPartThreads) {
    const int row = i / columns, column = i % columns;
    to[row * (columns + 1) + column] =
        row < row_count && column < column_count ? to_float(from[row * pitch + column]) : 0.0f;
  }
}

// D += A B^T over `depth` columns.
template <class A, class B>
__device__ __forceinline__ void multiply_rows(Part& d, PartScratch& scratch, const A* a, int64_t pitch_a, int rows_a,
                                              const B* b, int64_t pitch_b, int rows_b, int depth) {
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  for (int first = 0; first < depth; first += kPartDepth) {
    __syncthreads();
    load_part<kPart, kPartDepth>(scratch.a, a + first, pitch_a, rows_a, depth - first);
    load_part<kPart, kPartDepth>(scratch.b, b + first, pitch_b, rows_b, depth - first);
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kPartDepth; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          d[i][j] += scratch.a[(y + 16 * i) * (kPartDepth + 1) + k] * scratch.b[(x + 16 * j) * (kPartDepth + 1) + k];
  }
}

// D += map B, the map (64, 64) as the caller's threads left it in scratch.map; B has `rows` rows, of which 64 columns
// at most are read.
template <class T>
__device__ __forceinline__ void multiply_map(Part& d, PartScratch& scratch, const T* b, int64_t pitch, int rows,
                                             int columns) {
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  for (int first = 0; first < kPart; first += kPartDepth) {
    __syncthreads();
    load_part<kPartDepth, kPart>(scratch.b, b + first * pitch, pitch, rows - first, columns);
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kPartDepth; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          d[i][j] += scratch.map[(y + 16 * i) * kPartPitch + first + k] * scratch.b[k * kPartPitch + x + 16 * j];
  }
}

// Threads that hold one row of a part: neighbouring lanes.
inline constexpr int kRowLanes = 16;

}  // namespace gta::cuda::attention
