#include "core/int8_matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/backends/cpu/few_rows_gemm.h"
#include "core/gemm.h"
#include "core/parallel.h"
#include "core/profiler.h"

namespace gta {
namespace {

constexpr float kMost = 127;
constexpr int64_t kGrain = 16;  // rows of W of one work item
constexpr int64_t kStrip = 64;  // rows of W that are widened at a time for a product of many rows

// x . q of one row of W.
float dot(const float* x, const int8_t* q, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; ++c) sum += x[c] * static_cast<float>(q[c]);
  return sum;
}

template <class T>
void put(const Tensor& y, int64_t row, int64_t column, float value) {
  store(y.data<T>()[row * y.pitch() + column], value);
}

template <class T>
void few_rows(const std::vector<float>& x, const Int8Matrix& w, const float* bias, const Tensor& y) {
  parallel_ranges(w.rows(), kGrain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t r = 0; r < y.rows(); ++r)
        put<T>(y, r, i, w.scale(i) * dot(x.data() + r * w.columns(), w.row(i), w.columns()) + (bias ? bias[i] : 0));
  });
}

template <class T>
void many_rows(const std::vector<float>& x, const Int8Matrix& w, const float* bias, const Tensor& y) {
  const int64_t m = y.rows(), k = w.columns();
  parallel_ranges(w.rows(), kStrip, [&](int64_t first, int64_t last) {
    thread_local std::vector<float> wide, product;
    const int64_t width = last - first;
    wide.resize(static_cast<size_t>(kStrip * k));
    product.resize(static_cast<size_t>(m * kStrip));
    for (int64_t i = first; i < last; ++i) {
      float* const to = wide.data() + (i - first) * k;
      const int8_t* const from = w.row(i);
      const float scale = w.scale(i);
#pragma omp simd
      for (int64_t c = 0; c < k; ++c) to[c] = scale * static_cast<float>(from[c]);
    }
    cpu::block_gemm<float>(Transpose::No, Transpose::Yes, m, width, k, x.data(), k, wide.data(), k, product.data(),
                           width, GradientMode::Overwrite);
    for (int64_t r = 0; r < m; ++r)
      for (int64_t i = 0; i < width; ++i)
        put<T>(y, r, first + i, product[static_cast<size_t>(r * width + i)] + (bias ? bias[first + i] : 0));
  });
}

}  // namespace

Int8Matrix::Int8Matrix(const Tensor& matrix)
    : values_(Tensor::empty({matrix.rows(), matrix.columns()}, DType::U8, Device{}, Purpose::Parameters)),
      scales_(Tensor::empty({matrix.rows()}, DType::F32, Device{}, Purpose::Parameters)) {
  ensure(matrix.device().type == DeviceType::Cpu, "int8", "expected a matrix on the CPU, got {}", describe(matrix));
  dispatch_floating(matrix.dtype(), "int8", [&](auto zero) {
    using T = decltype(zero);
    auto* const values = reinterpret_cast<int8_t*>(values_.data<uint8_t>());
    parallel_ranges(rows(), kGrain, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const T* const from = matrix.data<T>() + r * matrix.pitch();
        float most = 0;
        for (int64_t c = 0; c < columns(); ++c) most = std::max(most, std::abs(static_cast<float>(from[c])));
        const float scale = most / kMost, inverse = scale > 0 ? 1 / scale : 0;
        scales_.data<float>()[r] = scale;
        for (int64_t c = 0; c < columns(); ++c)
          values[r * columns() + c] = static_cast<int8_t>(std::lrintf(static_cast<float>(from[c]) * inverse));
      }
    });
  });
}

int64_t Int8Matrix::bytes() const { return rows() * columns() + rows() * static_cast<int64_t>(sizeof(float)); }

void multiply(const Tensor& x, const Int8Matrix& w, const Tensor& bias, const Tensor& y) {
  ensure(x.columns() == w.columns() && y.rows() == x.rows() && y.columns() == w.rows() && x.dtype() == y.dtype() &&
             x.device().type == DeviceType::Cpu,
         "int8", "{} times ({}, {})^T does not give {}", describe(x), w.rows(), w.columns(), describe(y));
  ensure(!bias.defined() || (bias.dtype() == DType::F32 && bias.elements() == w.rows()), "int8",
         "expected a float32 bias of {}, got {}", w.rows(), describe(bias));
  ProfilerRange::add_flops(2.0 * static_cast<double>(x.rows()) * static_cast<double>(w.rows()) *
                           static_cast<double>(w.columns()));
  const float* const b = bias.defined() ? bias.data<float>() : nullptr;
  dispatch_floating(x.dtype(), "int8", [&](auto zero) {
    using T = decltype(zero);
    std::vector<float> wide(static_cast<size_t>(x.rows() * x.columns()));
    for (int64_t r = 0; r < x.rows(); ++r)
      for (int64_t c = 0; c < x.columns(); ++c)
        wide[static_cast<size_t>(r * x.columns() + c)] = static_cast<float>(x.data<T>()[r * x.pitch() + c]);
    if (x.rows() <= cpu::kFewRows)
      few_rows<T>(wide, w, b, y);
    else
      many_rows<T>(wide, w, b, y);
  });
}

}  // namespace gta
