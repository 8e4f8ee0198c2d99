// Products on the CPU: oneDNN's sgemm for float32, a plain blocked loop for float64 (which only tests use).
//
// oneDNN may cut a long sum by the number of threads. So the output is cut here into tiles by size, each tile is one single-threaded
// product (oneDNN sees that it is inside a parallel region), and each element is the work of one thread whatever their number.
#include "core/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

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

}  // namespace

template <>
void block_gemm<float>(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t pitch_a,
                       const float* b, int64_t pitch_b, float* c, int64_t pitch_c, GradientMode mode) {
  const auto status = dnnl_sgemm(transpose_a == Transpose::Yes ? 'T' : 'N', transpose_b == Transpose::Yes ? 'T' : 'N', m, n, k, 1.0f, a, pitch_a,
                                 b, pitch_b, mode == GradientMode::Accumulate ? 1.0f : 0.0f, c, pitch_c);
  if (status != dnnl_success) fail("gemm", "oneDNN refused a ({}, {}) x ({}, {}) product: status {}", m, k, k, n, static_cast<int>(status));
}

template <>
void block_gemm<double>(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const double* a, int64_t pitch_a,
                        const double* b, int64_t pitch_b, double* c, int64_t pitch_c, GradientMode mode) {
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
        for (int64_t p = 0; p < k; ++p) sum += (transpose_a == Transpose::No ? a[i * pitch_a + p] : a[p * pitch_a + i]) * b[j * pitch_b + p];
        row[j] += sum;
      }
    }
  }
}

void gemm_kernel(const Gemm& product, int64_t m, int64_t n, int64_t k) {
  // No structured binding: clang 14 cannot capture one.
  const Tensor &a = product.a, &b = product.b, &c = product.c;
  const Transpose transpose_a = product.transpose_a, transpose_b = product.transpose_b;
  int64_t tile_rows, tile_columns;
  choose_tile(m, n, tile_rows, tile_columns);
  dispatch_floating(c.dtype(), "gemm", [&](auto zero) {
    using T = decltype(zero);
    const T *pa = a.template data<T>(), *pb = b.template data<T>();
    T* pc = c.template data<T>();
    const int64_t across = pieces(n, tile_columns), tiles = pieces(m, tile_rows) * across;
    const auto tile = [&](int64_t i) {
      const int64_t row = i / across * tile_rows, column = i % across * tile_columns;
      block_gemm<T>(transpose_a, transpose_b, std::min(tile_rows, m - row), std::min(tile_columns, n - column), k,
                    transpose_a == Transpose::No ? pa + row * a.pitch() : pa + row, a.pitch(),
                    transpose_b == Transpose::No ? pb + column : pb + column * b.pitch(), b.pitch(), pc + row * c.pitch() + column, c.pitch(), product.mode);
    };
    // One tile alone would not open a parallel region, and oneDNN would then thread (and cut) it itself.
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < tiles; ++i) tile(i);
  });
}

}  // namespace gta::cpu
