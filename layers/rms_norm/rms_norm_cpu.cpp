#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "layers/rms_norm/rms_norm.h"

namespace gta::cpu {
namespace {

constexpr int64_t kRowGrain = 32;
constexpr int64_t kPartialRows = 128;  // rows of one partial sum of the weight's gradient

// One row of y = s * scale * w.
template <class T, class C>
void scale_row(const T* s, C scale, const C* w, T* y, int64_t width) {
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) store(y[c], s[c] * scale * w[c]);
}

}  // namespace

void rms_norm_scale(const Tensor& s, const Tensor& rstd, const Tensor& weight, const Tensor& y) {
  dispatch_floating(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    parallel_ranges(s.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        scale_row(s.template data<T>() + i * s.pitch(), rstd.template data<C>()[i], weight.template data<C>(),
                  y.template data<T>() + i * y.pitch(), s.columns());
    });
  });
}

void rms_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps, const Tensor& s,
                      const Tensor& y, const Tensor& rstd) {
  dispatch_floating(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t width = x.columns();
    const C* const w = weight.template data<C>();
    parallel_ranges(x.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T* in = x.template data<T>() + i * x.pitch();
        T* const out = y.template data<T>() + i * y.pitch();
        C squares = 0;
        if (residual.defined()) {
          const T* const r = residual.template data<T>() + i * residual.pitch();
          T* const sum = s.template data<T>() + i * s.pitch();
#pragma omp simd reduction(+ : squares)
          for (int64_t c = 0; c < width; ++c) {
            store(sum[c], in[c] + r[c]);
            const C v = sum[c];
            squares += v * v;
          }
          in = sum;
        } else {
#pragma omp simd reduction(+ : squares)
          for (int64_t c = 0; c < width; ++c) squares += C{in[c]} * C{in[c]};
        }
        const C scale = C{1} / std::sqrt(squares / static_cast<C>(width) + static_cast<C>(eps));
        rstd.template data<C>()[i] = scale;
        scale_row(in, scale, w, out, width);
      }
    });
  });
}

namespace {

void total_gradient(const RmsNormBackward& b) {
  const Tensor &s = b.s, &rstd = b.rstd, &weight = b.weight, &d_y = b.d_y, &d_s = b.d_s, &d_total = b.d_total;
  const GradientMode mode = b.mode_total;
  dispatch_floating(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t width = s.columns();
    const C* const w = weight.template data<C>();
    parallel_ranges(s.rows(), kRowGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T* const in = s.template data<T>() + i * s.pitch();
        const T* const dy = d_y.template data<T>() + i * d_y.pitch();
        T* const out = d_total.template data<T>() + i * d_total.pitch();
        const C scale = rstd.template data<C>()[i];
        C dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t c = 0; c < width; ++c) dot += dy[c] * w[c] * in[c];
        const C mean = dot * scale * scale / static_cast<C>(width);
        const T* const before = d_s.defined() ? d_s.template data<T>() + i * d_s.pitch() : nullptr;
        if (before) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) store(out[c], before[c] + scale * (dy[c] * w[c] - in[c] * mean));
        } else if (mode == GradientMode::Accumulate) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) store(out[c], out[c] + scale * (dy[c] * w[c] - in[c] * mean));
        } else {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) store(out[c], scale * (dy[c] * w[c] - in[c] * mean));
        }
      }
    });
  });
}

void weight_gradient(const RmsNormBackward& b) {
  const Tensor &s = b.s, &rstd = b.rstd, &d_y = b.d_y, &d_weight = b.d_weight;
  const GradientMode mode = b.mode_weight;
  dispatch_floating(s.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t width = s.columns(), parts = (s.rows() + kPartialRows - 1) / kPartialRows;
    Tensor partial = Tensor::zeros({parts, width}, state_dtype(s.dtype()), s.device(), Purpose::Workspace);
    parallel_for(parts, [&](int64_t part) {
      C* const sum = partial.template data<C>() + part * width;
      for (int64_t i = part * kPartialRows; i < std::min(s.rows(), (part + 1) * kPartialRows); ++i) {
        const T* const in = s.template data<T>() + i * s.pitch();
        const T* const dy = d_y.template data<T>() + i * d_y.pitch();
        const C scale = rstd.template data<C>()[i];
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) sum[c] += dy[c] * in[c] * scale;
      }
    });
    C* const dw = d_weight.template data<C>();
    if (mode == GradientMode::Overwrite) std::fill_n(dw, width, C{0});
    for (int64_t part = 0; part < parts; ++part) {
      const C* const sum = partial.template data<C>() + part * width;
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) dw[c] += sum[c];
    }
  });
}

}  // namespace

// The weight's gradient first: d_total may take the place of what it reads.
void rms_norm_backward(const RmsNormBackward& b) {
  if (b.d_weight.defined()) weight_gradient(b);
  if (b.d_total.defined()) total_gradient(b);
}

}  // namespace gta::cpu
