#include "core/backends/cuda/column_sums.h"
#include "core/backends/cuda/vectors.h"
#include "layers/rms_norm/rms_norm.h"

namespace gta::cuda {
namespace {

// v = x, or x + residual as T holds it
template <class T, int n>
__device__ __forceinline__ void load_sum(float (&v)[n], Rows<const T> x, Rows<const T> residual, int64_t row, int column) {
  load_vector(v, x.at(row, column));
  if (!residual.data) return;
  float r[n];
  load_vector(r, residual.at(row, column));
#pragma unroll
  for (int i = 0; i < n; ++i) v[i] = rounded<T>(v[i] + r[i]);
}

// s = x + residual        rstd[t] = (mean of s[t]^2 + eps)^-1/2        y = s rstd weight        x, residual, s, y (rows, width)
// A warp a row. What it reads a second time is in its L1 cache; holding a row in registers would need a kernel for every width.
template <class T, int n>
__global__ void forward_kernel(Rows<const T> x, Rows<const T> residual, const float* weight, float eps, Rows<T> s, Rows<T> y, float* rstd, int64_t rows,
                               int width) {
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
__global__ void scale_kernel(Rows<const T> s, const float* rstd, const float* weight, Rows<T> y, int64_t rows, int width) {
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

// d_total = before + rstd (dy weight - s mean),  mean = rstd^2 (sum over columns of dy weight s) / width,  before: d_s, d_total or 0
template <class T, int n>
__global__ void backward_kernel(Rows<const T> s, const float* rstd, const float* weight, Rows<const T> d_y, Rows<const T> before, Rows<T> d_total, int64_t rows,
                                int width) {
  for_rows(rows, [&](int64_t row) {
    float dot = 0;
    columns_of_lane<n>(width, [&](int column) {
      float v[n], w[n], d[n];
      load_vector(v, s.at(row, column));
      load_vector(w, weight + column);
      load_vector(d, d_y.at(row, column));
#pragma unroll
      for (int i = 0; i < n; ++i) dot += d[i] * w[i] * v[i];
    });
    const float scale = rstd[row], mean = warp_sum(dot) * scale * scale / static_cast<float>(width);
    columns_of_lane<n>(width, [&](int column) {
      float v[n], w[n], d[n];
      load_vector(v, s.at(row, column));
      load_vector(w, weight + column);
      load_vector(d, d_y.at(row, column));
#pragma unroll
      for (int i = 0; i < n; ++i) d[i] = scale * (d[i] * w[i] - v[i] * mean);
      if (before.data) {
        load_vector(v, before.at(row, column));
#pragma unroll
        for (int i = 0; i < n; ++i) d[i] = v[i] + d[i];
      }
      store_vector(d_total.at(row, column), d);
    });
  });
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
      GTA_LAUNCH((scale_kernel<T, n>), threads.grid, threads.block, 0, stream_of(s.device()), rows_of<const T>(s), rstd.data<float>(), weight.data<float>(),
                 rows_of<T>(y), rows, static_cast<int>(width));
    });
  });
}

void rms_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps, const Tensor& s, const Tensor& y, const Tensor& rstd) {
  const int64_t rows = x.rows(), width = x.columns();
  dispatch_device(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&x, &residual, &weight, &s, &y}, [&](auto n) {
      const Threads threads = warps_of(rows);
      GTA_LAUNCH((forward_kernel<T, n>), threads.grid, threads.block, 0, stream_of(x.device()), rows_of<const T>(x), rows_of<const T>(residual),
                 weight.data<float>(), static_cast<float>(eps), rows_of<T>(s), rows_of<T>(y), rstd.data<float>(), rows, static_cast<int>(width));
    });
  });
}

void rms_norm_backward(const Tensor& s, const Tensor& rstd, const Tensor& weight, const Tensor& d_y, const Tensor& d_s, const Tensor& d_total,
                       GradientMode mode) {
  const int64_t rows = s.rows(), width = s.columns();
  const Tensor before = d_s.defined() ? d_s : mode == GradientMode::Accumulate ? d_total : Tensor{};
  dispatch_device(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&s, &weight, &d_y, &before, &d_total}, [&](auto n) {
      const Threads threads = warps_of(rows);
      GTA_LAUNCH((backward_kernel<T, n>), threads.grid, threads.block, 0, stream_of(s.device()), rows_of<const T>(s), rstd.data<float>(),
                 weight.data<float>(), rows_of<const T>(d_y), rows_of<const T>(before), rows_of<T>(d_total), rows, static_cast<int>(width));
    });
  });
}

void rms_norm_weight_gradient(const Tensor& s, const Tensor& rstd, const Tensor& d_y, const Tensor& d_weight, GradientMode mode) {
  dispatch_device(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({s.columns()}, {&s, &d_y}, [&](auto n) {
      column_sums<n>(WeightTerm<T>{rows_of<const T>(s), rows_of<const T>(d_y), rstd.data<float>()}, s.rows(), d_weight, mode);
    });
  });
}

}  // namespace gta::cuda
