#include "core/sum_of_squares.h"

#include <vector>

#include "core/parallel.h"

namespace gta::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kLanes = 32;

}  // namespace

void sum_of_squares(const Tensor& flat, const Tensor& total, GradientMode mode) {
  ensure(flat.contiguous(), "sum_of_squares", "expected adjacent elements, got {}", describe(flat));
  dispatch_floating(flat.dtype(), "sum_of_squares", [&](auto zero) {
    using T = decltype(zero);
    const T* const x = flat.data<T>();
    std::vector<double> partial((flat.elements() + kGrain - 1) / kGrain);
    parallel_ranges(flat.elements(), kGrain, [&](int64_t first, int64_t last) {
      // Sums side by side: one alone would wait for itself at every element.
      double lanes[kLanes] = {};
      int64_t i = first;
      for (; i + kLanes <= last; i += kLanes)
#pragma omp simd
        for (int64_t lane = 0; lane < kLanes; ++lane)
          lanes[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
      double sum = 0;
      for (; i < last; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      for (double lane : lanes) sum += lane;
      partial[first / kGrain] = sum;
    });
    double all = 0;
    for (double sum : partial) all += sum;
    double& to = *total.data<double>();
    to = mode == GradientMode::Accumulate ? to + all : all;
  });
}

}  // namespace gta::cpu
