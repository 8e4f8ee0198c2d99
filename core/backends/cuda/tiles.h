// Tiles of bfloat16 in shared memory and products of them by tensor cores: what a kernel with a matrix product of its
// own is built from.
//
// A warp holds 16 * m rows of a product in fragments (ptx.h has their layout), operands come from shared memory:
//   multiply_rows         D (16 m, 8 n) += A B^T    rows of two tiles
//   multiply_columns      D (16 m, 8 n) += A B      rows of one tile, columns of another
//   multiply_transposed   D (16 m, 8 n) += A^T B    columns of two tiles
//   multiply_map          D (16 m, 8 n) += P B      P in fragments, from a product before:
//                                               a fragment of D, rounded to bfloat16, is one of A
// What else happens to D goes by rows and columns, not by its layout: for_rows, for_columns, for_pairs, at.
#pragma once

#include "core/backends/cuda/ptx.h"
#include "core/backends/cuda/vectors.h"

namespace gta::cuda {

using bf16 = __nv_bfloat16;

// Shared memory that kernels have beside their tiles, at most.
inline constexpr size_t kBesideTiles = 1024;
// For the tiles of a block, on devices that give it most (compute capability 8.0; 9.0 has more) and least (8.6, 8.9,
// 12.x).
inline constexpr size_t kMostShared = 163 * 1024 - kBesideTiles, kLeastShared = 99 * 1024 - kBesideTiles;

// Calls launch with the first of the tiles, the fastest first, that the device has shared memory for; false, and no
// call, when there are none.
template <class C, class... Smaller, class F>
bool with_first_that_fits(const Device& device, F&& launch) {
  if (C::shared + kBesideTiles <= shared_bytes_of(device)) return launch(C{}), true;
  if constexpr (sizeof...(Smaller) > 0) return with_first_that_fits<Smaller...>(device, launch);
  static_assert(sizeof...(Smaller) > 0 || C::shared <= kLeastShared, "the last of the tiles must fit every device");
  return false;
}

// Elements from one row of a tile in shared memory to the next: an odd number of 16-byte pieces, so that the eight rows
// of an ldmatrix lie in different banks.
template <int columns>
inline constexpr int kPitch = columns + 8;

// How the threads of a block share the copy of a tile: each takes the same piece of 16 bytes of every step-th row, so
// that one address is all it has to remember. Of 96 columns, as many threads as cover whole rows take part.
template <int columns, int threads>
struct Pieces {
  static constexpr int count = columns / 8, step = threads / count;
  static_assert(columns % 16 == 0 && step > 0);
  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x) / count; }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x) % count * 8; }
  // Where this thread begins in rows that begin at `from`.
  static __device__ __forceinline__ const bf16* own(const bf16* from, int64_t pitch) {
    return from + row() * pitch + column();
  }
};

// Starts copies of `count` rows, `own` being Pieces::own of the first; rows from there to `rows` become zero.
template <int rows, int columns, int threads>
__device__ __forceinline__ void load_own(bf16* tile, const bf16* own, int64_t pitch, int count) {
  using P = Pieces<columns, threads>;
  int row = P::row();
  tile += row * kPitch<columns> + P::column();
  if (threads % P::count != 0 && row >= P::step) return;
#pragma unroll
  for (int i = 0; i < (rows + P::step - 1) / P::step;
       ++i, row += P::step, own += P::step * pitch, tile += P::step * kPitch<columns>)
    if (rows % P::step == 0 || row < rows) ptx::cp_async_16(tile, own, row < count ? 16 : 0);
}
template <int rows, int columns, int threads>
__device__ __forceinline__ void load_tile(bf16* tile, const bf16* from, int64_t pitch, int count) {
  load_own<rows, columns, threads>(tile, Pieces<columns, threads>::own(from, pitch), pitch, count);
}

__device__ __forceinline__ uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  __builtin_memcpy(&bits, &pair, sizeof bits);
  return bits;
}

// ---- a lane's numbers of D (16 m, 8 n): 2 m rows of 2 n columns ----
//
// `first` is the lane's first row, lane / 4, or column, lane % 4 * 2, from wherever the caller counts. i and j are
// constants once the loops are unrolled. The loops are nested as fragments are: from one long loop nvcc 13 makes
// hundreds of instructions more where two fragments of rows are written.

// Calls f(i, row) for each row; `return` in f goes to the next one.
template <int m, class F>
__device__ __forceinline__ void for_rows(int first, F&& f) {
#pragma unroll
  for (int i = 0; i < m; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) f(2 * i + h, first + 16 * i + 8 * h);
}
// Calls f(j, column) for each column.
template <int n, class F>
__device__ __forceinline__ void for_columns(int first, F&& f) {
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) f(2 * j + e, first + 8 * j + e);
}
// The number in the i-th row and j-th column.
template <int m, int n>
__device__ __forceinline__ float& at(float (&d)[m][n][4], int i, int j) {
  return d[i / 2][j / 2][i % 2 * 2 + j % 2];
}
// Calls f(column, x, y) for each pair of the i-th row: x in `column`, y in the one behind it.
template <int m, int n, class F>
__device__ __forceinline__ void for_pairs(float (&d)[m][n][4], int i, int first, F&& f) {
#pragma unroll
  for (int j = 0; j < n; ++j) f(first + 8 * j, d[i / 2][j][i % 2 * 2], d[i / 2][j][i % 2 * 2 + 1]);
}

// ---- products ----

// D (16 m, 8 n) += A B^T over `depth` columns; a and b at the first row of each.
template <int depth, int m, int n>
__device__ __forceinline__ void multiply_rows(float (&d)[m][n][4], const bf16* a, const bf16* b) {
  const int lane = threadIdx.x & 31;
  a += (lane & 15) * kPitch<depth> + (lane >> 4) * 8;
  b += ((lane & 7) + (lane >> 4) * 8) * kPitch<depth> + ((lane >> 3) & 1) * 8;
#pragma unroll
  for (int k = 0; k < depth; k += 16) {
    uint32_t left[m][4];
#pragma unroll
    for (int i = 0; i < m; ++i) ptx::ldmatrix_x4(left[i], a + i * 16 * kPitch<depth> + k);
#pragma unroll
    for (int j = 0; j < n; j += 2) {
      uint32_t right[4];
      ptx::ldmatrix_x4(right, b + j * 8 * kPitch<depth> + k);
#pragma unroll
      for (int i = 0; i < m; ++i) {
        ptx::mma_m16n8k16(d[i][j], left[i], {right[0], right[1]});
        ptx::mma_m16n8k16(d[i][j + 1], left[i], {right[2], right[3]});
      }
    }
  }
}

// D (16 m, 8 n) += A (16 m, 16), in fragments, times 16 rows of a tile of `columns`; b is this lane's row of an
// ldmatrix.
template <int columns, int m, int n>
__device__ __forceinline__ void multiply_fragments(float (&d)[m][n][4], const uint32_t (&left)[m][4], const bf16* b) {
#pragma unroll
  for (int j = 0; j < n; j += 2) {
    uint32_t right[4];
    ptx::ldmatrix_x4_transposed(right, b + j * 8);
#pragma unroll
    for (int i = 0; i < m; ++i) {
      ptx::mma_m16n8k16(d[i][j], left[i], {right[0], right[1]});
      ptx::mma_m16n8k16(d[i][j + 1], left[i], {right[2], right[3]});
    }
  }
}

// D (16 m, 8 n) += A (16 m, depth) B (depth, 8 n), of which b is the first row and column in a tile of `columns`.
template <int depth, int columns, int m, int n>
__device__ __forceinline__ void multiply_columns(float (&d)[m][n][4], const bf16* a, const bf16* b) {
  const int lane = threadIdx.x & 31;
  a += (lane & 15) * kPitch<depth> + (lane >> 4) * 8;
  b += (lane & 15) * kPitch<columns> + (lane >> 4) * 8;
#pragma unroll
  for (int k = 0; k < depth; k += 16) {
    uint32_t left[m][4];
#pragma unroll
    for (int i = 0; i < m; ++i) ptx::ldmatrix_x4(left[i], a + i * 16 * kPitch<depth> + k);
    multiply_fragments<columns>(d, left, b + k * kPitch<columns>);
  }
}

// D (16 m, 8 n) += A^T B, A (depth, 16 m) and B (depth, 8 n) parts of tiles of `a_columns` and `b_columns`, from a and
// b on.
template <int depth, int a_columns, int b_columns, int m, int n>
__device__ __forceinline__ void multiply_transposed(float (&d)[m][n][4], const bf16* a, const bf16* b) {
  const int lane = threadIdx.x & 31;
  a += ((lane & 7) + (lane >> 4) * 8) * kPitch<a_columns> + ((lane >> 3) & 1) * 8;
  b += (lane & 15) * kPitch<b_columns> + (lane >> 4) * 8;
#pragma unroll
  for (int k = 0; k < depth; k += 16) {
    uint32_t left[m][4];
#pragma unroll
    for (int i = 0; i < m; ++i) ptx::ldmatrix_x4_transposed(left[i], a + k * kPitch<a_columns> + i * 16);
    multiply_fragments<b_columns>(d, left, b + k * kPitch<b_columns>);
  }
}

// D (16 m, 8 n) += P (16 m, 8 k) B (8 k, 8 n); b at the first row.
template <int m, int k, int n>
__device__ __forceinline__ void multiply_map(float (&d)[m][n][4], const float (&p)[m][k][4], const bf16* b) {
  const int lane = threadIdx.x & 31;
  b += (lane & 15) * kPitch<8 * n> + (lane >> 4) * 8;
#pragma unroll
  for (int l = 0; l < k; l += 2) {
    uint32_t left[m][4];
#pragma unroll
    for (int i = 0; i < m; ++i)
#pragma unroll
      for (int r = 0; r < 4; ++r) left[i][r] = pack(p[i][l + r / 2][r % 2 * 2], p[i][l + r / 2][r % 2 * 2 + 1]);
    multiply_fragments<8 * n>(d, left, b + l * 8 * kPitch<8 * n>);
  }
}

}  // namespace gta::cuda
