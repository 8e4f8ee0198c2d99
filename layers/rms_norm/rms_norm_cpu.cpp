#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "layers/rms_norm/rms_norm.h"

namespace gta::cpu {
namespace {

constexpr int64_t kRowGrain = 32;
constexpr int64_t kPartialRows = 128;  // rows of one partial sum of the weight's gradient

}  // namespace

void rms_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps, const Tensor& s, const Tensor& y,
                      const Tensor& rstd) {
  dispatch_floating(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const int64_t width = x.columns();
    const T* const w = weight.template data<T>();
    parallel_ranges(x.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T* in = x.template data<T>() + i * x.pitch();
        T* const out = y.template data<T>() + i * y.pitch();
        T squares = 0;
        if (residual.defined()) {
          const T* const r = residual.template data<T>() + i * residual.pitch();
          T* const sum = s.template data<T>() + i * s.pitch();
#pragma omp simd reduction(+ : squares)
          for (int64_t c = 0; c < width; ++c) {
            const T v = in[c] + r[c];
            sum[c] = v;
            squares += v * v;
          }
          in = sum;
        } else {
#pragma omp simd reduction(+ : squares)
          for (int64_t c = 0; c < width; ++c) squares += in[c] * in[c];
        }
        const T scale = T{1} / std::sqrt(squares / static_cast<T>(width) + static_cast<T>(eps));
        rstd.template data<T>()[i] = scale;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) out[c] = in[c] * scale * w[c];
      }
    });
  });
}

void rms_norm_backward(const Tensor& s, const Tensor& rstd, const Tensor& weight, const Tensor& d_y, const Tensor& d_s, const Tensor& d_total,
                       GradientMode mode) {
  dispatch_floating(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const int64_t width = s.columns();
    const T* const w = weight.template data<T>();
    parallel_ranges(s.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T* const in = s.template data<T>() + i * s.pitch();
        const T* const dy = d_y.template data<T>() + i * d_y.pitch();
        T* const out = d_total.template data<T>() + i * d_total.pitch();
        const T scale = rstd.template data<T>()[i];
        T dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t c = 0; c < width; ++c) dot += dy[c] * w[c] * in[c];
        const T mean = dot * scale * scale / static_cast<T>(width);
        const T* const before = d_s.defined() ? d_s.template data<T>() + i * d_s.pitch() : nullptr;
        const T keep = mode == GradientMode::Accumulate ? T{1} : T{0};
        if (before) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) out[c] = before[c] + scale * (dy[c] * w[c] - in[c] * mean);
        } else if (keep != T{0}) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) out[c] += scale * (dy[c] * w[c] - in[c] * mean);
        } else {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) out[c] = scale * (dy[c] * w[c] - in[c] * mean);
        }
      }
    });
  });
}

void rms_norm_weight_gradient(const Tensor& s, const Tensor& rstd, const Tensor& d_y, const Tensor& d_weight, GradientMode mode) {
  dispatch_floating(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const int64_t width = s.columns(), parts = (s.rows() + kPartialRows - 1) / kPartialRows;
    Tensor partial = Tensor::zeros({parts, width}, s.dtype(), s.device(), Purpose::Workspace);
    parallel_for(parts, [&](int64_t part) {
      T* const sum = partial.template data<T>() + part * width;
      for (int64_t i = part * kPartialRows; i < std::min(s.rows(), (part + 1) * kPartialRows); ++i) {
        const T* const in = s.template data<T>() + i * s.pitch();
        const T* const dy = d_y.template data<T>() + i * d_y.pitch();
        const T scale = rstd.template data<T>()[i];
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) sum[c] += dy[c] * in[c] * scale;
      }
    });
    T* const dw = d_weight.template data<T>();
    if (mode == GradientMode::Overwrite) std::fill_n(dw, width, T{0});
    for (int64_t part = 0; part < parts; ++part) {
      const T* const sum = partial.template data<T>() + part * width;
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) dw[c] += sum[c];
    }
  });
}

}  // namespace gta::cpu
