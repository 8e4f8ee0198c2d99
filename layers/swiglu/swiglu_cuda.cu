#include "core/backends/cuda/device_math.h"
#include "core/backends/cuda/vectors.h"
#include "layers/swiglu/swiglu.h"

namespace gta::cuda {
namespace {

// y = z S u, S = sigmoid(z)        gate_up = [z | u] (rows, 2 width), y (rows, width)
template <class T, int n>
__global__ void gate_rows(Rows<const T> gate_up, Rows<T> y, int64_t rows, int64_t width) {
  for_items(rows, width / n, [&](int64_t row, int64_t item) {
    float z[n], u[n];
    load_vector(z, gate_up.at(row, item * n));
    load_vector(u, gate_up.at(row, width + item * n));
#pragma unroll
    for (int i = 0; i < n; ++i) z[i] = z[i] * sigmoid(z[i]) * u[i];
    store_vector(y.at(row, item * n), z);
  });
}

// dz (+)= dy u S (1 + z (1 - S))        du (+)= dy z S
template <class T, int n>
__global__ void gate_rows_backward(Rows<const T> gate_up, Rows<const T> d_y, Rows<T> d_gate_up, int64_t rows,
                                   int64_t width, bool accumulate) {
  for_items(rows, width / n, [&](int64_t row, int64_t item) {
    float z[n], u[n], d[n];
    load_vector(z, gate_up.at(row, item * n));
    load_vector(u, gate_up.at(row, width + item * n));
    load_vector(d, d_y.at(row, item * n));
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const float s = sigmoid(z[i]), d_z = d[i] * u[i] * s * (1.0f + z[i] * (1.0f - s));
      u[i] = d[i] * z[i] * s;
      z[i] = d_z;
    }
    write_vector(d_gate_up.at(row, item * n), z, accumulate);
    write_vector(d_gate_up.at(row, width + item * n), u, accumulate);
  });
}

}  // namespace

void swiglu_forward(const Tensor& gate_up, const Tensor& y) {
  const int64_t rows = y.rows(), width = y.columns();
  dispatch_device(y.dtype(), "swiglu", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&gate_up, &y}, [&](auto n) {
      const Threads threads = threads_of(rows, width / n);
      GTA_LAUNCH((gate_rows<T, n>), threads.grid, threads.block, 0, stream_of(y.device()), rows_of<const T>(gate_up),
                 rows_of<T>(y), rows, width);
    });
  });
}

void swiglu_backward(const Tensor& gate_up, const Tensor& d_y, const Tensor& d_gate_up, GradientMode mode) {
  const int64_t rows = d_y.rows(), width = d_y.columns();
  dispatch_device(d_y.dtype(), "swiglu", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&gate_up, &d_y, &d_gate_up}, [&](auto n) {
      const Threads threads = threads_of(rows, width / n);
      GTA_LAUNCH((gate_rows_backward<T, n>), threads.grid, threads.block, 0, stream_of(d_y.device()),
                 rows_of<const T>(gate_up), rows_of<const T>(d_y), rows_of<T>(d_gate_up), rows, width,
                 mode == GradientMode::Accumulate);
    });
  });
}

}  // namespace gta::cuda
