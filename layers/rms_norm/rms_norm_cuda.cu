#include "core/backends/cuda/column_sums.h"
#include "core/backends/cuda/vectors.h"
#include "layers/rms_norm/rms_norm.h"

namespace gta::cuda {
namespace {

using column_sums_detail::sum_of_warps;
static_assert(kWarpsOfRows == column_sums_detail::kWarps);

// v = x, or x + residual as T holds it
template <class T, int n>
__device__ __forceinline__ void load_sum(float (&v)[n], Rows<const T> x, Rows<const T> residual, int64_t row,
                                         int column) {
  load_vector(v, x.at(row, column));
  if (!residual.data) return;
  float r[n];
  load_vector(r, residual.at(row, column));
#pragma unroll
  for (int i = 0; i < n; ++i) v[i] = rounded<T>(v[i] + r[i]);
}

// s = x + residual     rstd[t] = (mean of s[t]^2 + eps)^-1/2     y = s rstd weight     x, residual, s, y (rows, width)
// A warp a row. What it reads a second time is in its L1 cache; holding a row in registers would need a kernel for
// every width.
template <class T, int n>
__global__ void normalize_rows(Rows<const T> x, Rows<const T> residual, const float* weight, float eps, Rows<T> s,
                               Rows<T> y, float* rstd, int64_t rows, int width) {
  for_rows(rows, [&](int64_t row) {
    float squares = 0;
    columns_of_lane<n>(width, [&](int column) {
      float v[n];
      load_sum(v, x, residual, row, column);
#pragma unroll
      for (int i = 0; i < n; ++i) squares += v[i] * v[i];
    });
    const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(width) + eps);
    if (threadIdx.x == 0) rstd[row] = scale;
    columns_of_lane<n>(width, [&](int column) {
      float v[n], w[n];
      load_sum(v, x, residual, row, column);
      load_vector(w, weight + column);
      if (residual.data) store_vector(s.at(row, column), v);
#pragma unroll
      for (int i = 0; i < n; ++i) v[i] = v[i] * scale * w[i];
      store_vector(y.at(row, column), v);
    });
  });
}

// y = s rstd weight
template <class T, int n>
__global__ void scale_kernel(Rows<const T> s, const float* rstd, const float* weight, Rows<T> y, int64_t rows,
                             int width) {
  for_items(rows, width / n, [&](int64_t row, int64_t item) {
    float v[n], w[n];
    load_vector(v, s.at(row, item * n));
    load_vector(w, weight + item * n);
    const float scale = rstd[row];
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = v[i] * scale * w[i];
    store_vector(y.at(row, item * n), v);
  });
}

template <class T>
struct Backward {
  Rows<const T> s;
  const float *rstd, *weight;
  Rows<const T> d_y, before;
  Rows<T> d_total;
};

// d_total = before + rstd (dy weight - s mean),  mean = rstd^2 (sum over columns of dy weight s) / width,
// before: d_s, d_total or 0
template <class T, int n>
__device__ __forceinline__ void total_gradient(const Backward<T>& b, int64_t row, int width, float* weight_sum) {
  float dot = 0;
  columns_of_lane<n>(width, [&](int column) {
    float v[n], w[n], d[n];
    load_vector(v, b.s.at(row, column));
    load_vector(w, b.weight + column);
    load_vector(d, b.d_y.at(row, column));
#pragma unroll
    for (int i = 0; i < n; ++i) dot += d[i] * w[i] * v[i];
  });
  const float scale = b.rstd[row], mean = warp_sum(dot) * scale * scale / static_cast<float>(width);
  columns_of_lane<n>(width, [&](int column) {
    float v[n], w[n], d[n];
    load_vector(v, b.s.at(row, column));
    load_vector(w, b.weight + column);
    load_vector(d, b.d_y.at(row, column));
    if (weight_sum) {
      float sum[n];
      load_vector(sum, weight_sum + column);
#pragma unroll
      for (int i = 0; i < n; ++i) sum[i] += d[i] * v[i] * scale;
      store_vector(weight_sum + column, sum);
    }
#pragma unroll
    for (int i = 0; i < n; ++i) d[i] = scale * (d[i] * w[i] - v[i] * mean);
    if (b.before.data) {
      load_vector(v, b.before.at(row, column));
#pragma unroll
      for (int i = 0; i < n; ++i) d[i] = v[i] + d[i];
    }
    store_vector(b.d_total.at(row, column), d);
  });
}

template <class T, int n>
__global__ void total_kernel(Backward<T> b, int64_t rows, int width) {
  for_rows(rows, [&](int64_t row) { total_gradient<T, n>(b, row, width, nullptr); });
}

// Both gradients in one reading: a block has one part of the rows, and a sum over them for each of its warps in shared
// memory. partial (parts, width)
constexpr int kRowsOfBlock = 32;
template <class T, int n>
__global__ void total_and_weight_kernel(Backward<T> b, float* partial, int64_t rows, int width) {
  float* const sums = dynamic_shared<float>();
  float* const own = sums + threadIdx.y * width;
  columns_of_lane<n>(width, [&](int column) {
    const float zero[n] = {};
    store_vector(own + column, zero);
  });
  const int64_t first = int64_t{blockIdx.x} * kRowsOfBlock, last = min(rows, first + kRowsOfBlock);
  for (int64_t row = first + threadIdx.y; row < last; row += kWarpsOfRows) total_gradient<T, n>(b, row, width, own);
  __syncthreads();
  for (int column = threadIdx.y * 32 + threadIdx.x; column < width; column += 32 * kWarpsOfRows)
    partial[int64_t{blockIdx.x} * width + column] = sum_of_warps(sums, width, column);
}

// What d weight sums: dy s rstd
template <class T>
struct WeightTerm {
  Rows<const T> s, d_y;
  const float* rstd;
  template <int n>
  __device__ __forceinline__ void add(int64_t row, int64_t column, float (&sum)[n]) const {
    float v[n], d[n];
    load_vector(v, s.at(row, column));
    load_vector(d, d_y.at(row, column));
    const float scale = rstd[row];
#pragma unroll
    for (int i = 0; i < n; ++i) sum[i] += d[i] * v[i] * scale;
  }
};

}  // namespace

void rms_norm_scale(const Tensor& s, const Tensor& rstd, const Tensor& weight, const Tensor& y) {
  const int64_t rows = s.rows(), width = s.columns();
  dispatch_device(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&s, &weight, &y}, [&](auto n) {
      const Threads threads = threads_of(rows, width / n);
      GTA_LAUNCH((scale_kernel<T, n>), threads.grid, threads.block, 0, stream_of(s.device()), rows_of<const T>(s),
                 rstd.data<float>(), weight.data<float>(), rows_of<T>(y), rows, static_cast<int>(width));
    });
  });
}

void rms_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps, const Tensor& s,
                      const Tensor& y, const Tensor& rstd) {
  const int64_t rows = x.rows(), width = x.columns();
  dispatch_device(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&x, &residual, &weight, &s, &y}, [&](auto n) {
      const Threads threads = warps_of(rows);
      GTA_LAUNCH((normalize_rows<T, n>), threads.grid, threads.block, 0, stream_of(x.device()), rows_of<const T>(x),
                 rows_of<const T>(residual), weight.data<float>(), static_cast<float>(eps), rows_of<T>(s),
                 rows_of<T>(y), rstd.data<float>(), rows, static_cast<int>(width));
    });
  });
}

void rms_norm_backward(const RmsNormBackward& b) {
  const int64_t rows = b.s.rows(), width = b.s.columns(), parts = ceil_div(rows, kRowsOfBlock);
  const Tensor before = b.d_s.defined() ? b.d_s : b.mode_total == GradientMode::Accumulate ? b.d_total : Tensor{};
  const size_t sums = kWarpsOfRows * static_cast<size_t>(width) * sizeof(float);
  const Device device = b.s.device();
  dispatch_device(b.s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&b.s, &b.weight, &b.d_y, &before, &b.d_total}, [&](auto n) {
      const Backward<T> arguments{rows_of<const T>(b.s),   b.rstd.data<float>(),     b.weight.data<float>(),
                                  rows_of<const T>(b.d_y), rows_of<const T>(before), rows_of<T>(b.d_total)};
      // Wider rows than there is shared memory for are read twice.
      if (b.d_total.defined() && b.d_weight.defined() && rows > 0 && sums <= shared_bytes_of(device)) {
        const Tensor partial = Tensor::empty({parts, width}, DType::F32, device, Purpose::Workspace);
        GTA_LAUNCH((total_and_weight_kernel<T, n>), dim3(static_cast<unsigned>(parts)), dim3(32, kWarpsOfRows), sums,
                   stream_of(device), arguments, partial.data<float>(), rows, static_cast<int>(width));
        add_parts(partial, b.d_weight, b.mode_weight);
        return;
      }
      if (b.d_weight.defined())
        column_sums<n>(WeightTerm<T>{arguments.s, arguments.d_y, arguments.rstd}, rows, b.d_weight, b.mode_weight);
      if (!b.d_total.defined()) return;
      const Threads threads = warps_of(rows);
      GTA_LAUNCH((total_kernel<T, n>), threads.grid, threads.block, 0, stream_of(device), arguments, rows,
                 static_cast<int>(width));
    });
  });
}

}  // namespace gta::cuda
