// Products on the CPU: oneDNN for float32 and bfloat16, a plain blocked loop for float64 (which only tests use), and a
// kernel of ours where few rows meet a matrix (few_rows_gemm.h).
//
// oneDNN may cut a long sum by the number of threads. So the output is cut here into tiles by size, each tile is one
// single-threaded product (oneDNN is told that there is one thread), and each element is the work of one thread
// whatever their number.
#include "core/gemm.h"

#include <algorithm>
#include <vector>

#include "core/backends/cpu/bfloat16_gemm.h"
#include "core/backends/cpu/few_rows_gemm.h"
#include "core/parallel.h"

namespace gta::cpu {
namespace {

constexpr int64_t kTileRows = 256, kTileColumns = 384;  // measured best over the shapes of a training step
constexpr int64_t kSmallestTile = 48, kFewestTiles = 16;

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
int64_t pieces(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

void choose_tile(int64_t m, int64_t n, int64_t& rows, int64_t& columns) {
  rows = std::min(kTileRows, m);
  columns = std::min(kTileColumns, n);
  while (pieces(m, rows) * pieces(n, columns) < kFewestTiles && std::max(rows, columns) > kSmallestTile) {
    int64_t& larger = rows >= columns ? rows : columns;
    larger = round_up((larger + 1) / 2, 16);
  }
}

// A tile of C and the rows of op(A) and columns of op(B) that make it.
template <class T, class C>
struct Tile {
  int64_t rows, columns, k;
  const T *a, *b;
  C* c;
  const compute_type<T>* bias;  // of these columns, or null
};

template <class T>
void fill_with_bias(const Tile<T, T>& tile, int64_t pitch) {
  for (int64_t r = 0; r < tile.rows; ++r) std::copy_n(tile.bias, tile.columns, tile.c + r * pitch);
}

// float and double: the product writes C itself.
template <class T>
void multiply(const Gemm& g, const Tile<T, T>& tile) {
  GradientMode mode = g.mode;
  if (tile.bias && mode == GradientMode::Overwrite) {
    fill_with_bias(tile, g.c.pitch());
    mode = GradientMode::Accumulate;
  } else if (tile.bias) {
    for (int64_t r = 0; r < tile.rows; ++r)
      for (int64_t j = 0; j < tile.columns; ++j) tile.c[r * g.c.pitch() + j] += tile.bias[j];
  }
  block_gemm<T>(g.transpose_a, g.transpose_b, tile.rows, tile.columns, tile.k, tile.a, g.a.pitch(), tile.b, g.b.pitch(),
                tile.c, g.c.pitch(), mode);
}

// bfloat16: float32 sums in a buffer that stays in this core's cache, rounded (or added) to C at the end.
template <class C>
void multiply_bfloat16(const Gemm& g, const Tile<bfloat16, C>& tile) {
  const bool accumulate = g.mode == GradientMode::Accumulate;
  if constexpr (std::is_same_v<C, float>) {
    if (!tile.bias) {
      bfloat16_block_gemm(g.transpose_a, g.transpose_b, tile.rows, tile.columns, tile.k, tile.a, g.a.pitch(), tile.b,
                          g.b.pitch(), tile.c, g.c.pitch(), g.mode);
      return;
    }
  }
  thread_local std::vector<float> sums;
  sums.resize(static_cast<size_t>(tile.rows * tile.columns));
  bfloat16_block_gemm(g.transpose_a, g.transpose_b, tile.rows, tile.columns, tile.k, tile.a, g.a.pitch(), tile.b,
                      g.b.pitch(), sums.data(), tile.columns, GradientMode::Overwrite);
  for (int64_t r = 0; r < tile.rows; ++r) {
    float* const sum = sums.data() + r * tile.columns;
    C* const c = tile.c + r * g.c.pitch();
    if (tile.bias) {
#pragma omp simd
      for (int64_t j = 0; j < tile.columns; ++j) sum[j] += tile.bias[j];
    }
    if (accumulate) {
#pragma omp simd
      for (int64_t j = 0; j < tile.columns; ++j) store(c[j], c[j] + sum[j]);
    } else {
#pragma omp simd
      for (int64_t j = 0; j < tile.columns; ++j) store(c[j], sum[j]);
    }
  }
}

template <class T, class C>
void multiply_tiles(const Gemm& g, int64_t m, int64_t n, int64_t k) {
  int64_t tile_rows, tile_columns;
  choose_tile(m, n, tile_rows, tile_columns);
  const T *const a = g.a.template data<T>(), *const b = g.b.template data<T>();
  C* const c = g.c.template data<C>();
  const compute_type<T>* const bias = g.bias.defined() ? g.bias.template data<compute_type<T>>() : nullptr;
  const int64_t across = pieces(n, tile_columns), tiles = pieces(m, tile_rows) * across;
  parallel_for(tiles, [&](int64_t i) {
    const int64_t row = i / across * tile_rows, column = i % across * tile_columns;
    const Tile<T, C> tile{std::min(tile_rows, m - row),
                          std::min(tile_columns, n - column),
                          k,
                          g.transpose_a == Transpose::No ? a + row * g.a.pitch() : a + row,
                          g.transpose_b == Transpose::No ? b + column : b + column * g.b.pitch(),
                          c + row * g.c.pitch() + column,
                          bias ? bias + column : nullptr};
    if constexpr (std::is_same_v<T, bfloat16>)
      multiply_bfloat16(g, tile);
    else
      multiply(g, tile);
  });
}

}  // namespace

template <>
void block_gemm<double>(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const double* a,
                        int64_t pitch_a, const double* b, int64_t pitch_b, double* c, int64_t pitch_c,
                        GradientMode mode) {
  for (int64_t i = 0; i < m; ++i) {
    double* row = c + i * pitch_c;
    if (mode == GradientMode::Overwrite) std::fill_n(row, n, 0.0);
    if (transpose_b == Transpose::No) {
      for (int64_t p = 0; p < k; ++p) {
        const double x = transpose_a == Transpose::No ? a[i * pitch_a + p] : a[p * pitch_a + i];
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) row[j] += x * b[p * pitch_b + j];
      }
    } else {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < k; ++p)
          sum += (transpose_a == Transpose::No ? a[i * pitch_a + p] : a[p * pitch_a + i]) * b[j * pitch_b + p];
        row[j] += sum;
      }
    }
  }
}

void gemm_kernel(const Gemm& product, int64_t m, int64_t n, int64_t k) {
  if (few_rows_gemm(product, m, n, k)) return;
  dispatch_floating(product.a.dtype(), "gemm", [&](auto zero) {
    using T = decltype(zero);
    if (product.c.dtype() == product.a.dtype())
      multiply_tiles<T, T>(product, m, n, k);
    else
      multiply_tiles<T, compute_type<T>>(product, m, n, k);
  });
}

}  // namespace gta::cpu
