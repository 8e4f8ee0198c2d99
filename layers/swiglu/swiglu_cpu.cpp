#include "core/backends/cpu/vector_math.h"
#include "core/parallel.h"
#include "layers/swiglu/swiglu.h"

namespace gta::cpu {

void swiglu_forward(const Tensor& gate_up, const Tensor& y) {
  dispatch_floating(y.dtype(), "swiglu", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t width = y.columns();
    parallel_ranges(y.rows(), 8, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const T* const z = gate_up.template data<T>() + t * gate_up.pitch();
        const T* const u = z + width;
        T* const out = y.template data<T>() + t * y.pitch();
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          const C zc = z[c];
          store(out[c], zc * sigmoid(zc) * u[c]);
        }
      }
    });
  });
}

void swiglu_backward(const Tensor& gate_up, const Tensor& d_y, const Tensor& d_gate_up, GradientMode mode) {
  dispatch_floating(d_y.dtype(), "swiglu", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t width = d_y.columns();
    const bool accumulate = mode == GradientMode::Accumulate;
    parallel_ranges(d_y.rows(), 8, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const T* const z = gate_up.template data<T>() + t * gate_up.pitch();
        const T* const u = z + width;
        const T* const dy = d_y.template data<T>() + t * d_y.pitch();
        T* const dz = d_gate_up.template data<T>() + t * d_gate_up.pitch();
        T* const du = dz + width;
        if (accumulate) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            const C zc = z[c], d = dy[c], s = sigmoid(zc);
            store(dz[c], dz[c] + d * u[c] * s * (C{1} + zc * (C{1} - s)));
            store(du[c], du[c] + d * zc * s);
          }
        } else {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            const C zc = z[c], d = dy[c], s = sigmoid(zc);
            store(dz[c], d * u[c] * s * (C{1} + zc * (C{1} - s)));
            store(du[c], d * zc * s);
          }
        }
      }
    });
  });
}

}  // namespace gta::cpu
