#include <algorithm>
#include <cmath>

#include "core/backends/cpu/vector_math.h"
#include "core/parallel.h"
#include "layers/cross_entropy/linear_cross_entropy.h"

namespace gta::cpu {
namespace {

// A float32 sum over a whole vocabulary, one by one where there are no vectors, would be off by 1e-5.
constexpr int64_t kSumPiece = 1024;

}  // namespace

int64_t find_bad_label(const Tensor& labels, int64_t vocab) {
  const int32_t* const l = labels.data<int32_t>();
  for (int64_t i = 0; i < labels.elements(); ++i)
    if (l[i] != kIgnoredLabel && (l[i] < 0 || l[i] >= vocab)) return i;
  return -1;
}

void cross_entropy_rows(const Tensor& logits, const Tensor& labels, double label_weight, CrossEntropyMode mode, const Tensor& losses) {
  dispatch_floating(logits.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    const int64_t vocab = logits.columns();
    parallel_ranges(logits.rows(), 8, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        T* const z = logits.template data<T>() + t * logits.pitch();
        const int32_t label = labels.data<int32_t>()[t];
        double& loss = losses.data<double>()[t];
        if (label == kIgnoredLabel) {
          loss = 0;
          if (mode == CrossEntropyMode::LossAndGradient) std::fill_n(z, vocab, T{0});
          continue;
        }
        T largest = z[0];
#pragma omp simd reduction(max : largest)
        for (int64_t v = 0; v < vocab; ++v) largest = std::max(largest, z[v]);
        const T target = z[label];
        double sum = 0;
        for (int64_t begin = 0; begin < vocab; begin += kSumPiece) {
          const int64_t end = std::min(vocab, begin + kSumPiece);
          T piece = 0;
          if (mode == CrossEntropyMode::LossOnly) {
#pragma omp simd reduction(+ : piece)
            for (int64_t v = begin; v < end; ++v) piece += fast_exp(z[v] - largest);
          } else {
#pragma omp simd reduction(+ : piece)
            for (int64_t v = begin; v < end; ++v) {
              z[v] = fast_exp(z[v] - largest);
              piece += z[v];
            }
          }
          sum += static_cast<double>(piece);
        }
        if (mode == CrossEntropyMode::LossAndGradient) {
          const T scale = static_cast<T>(label_weight / sum);
#pragma omp simd
          for (int64_t v = 0; v < vocab; ++v) z[v] *= scale;
          z[label] -= static_cast<T>(label_weight);
        }
        loss = label_weight * (static_cast<double>(largest) + std::log(sum) - static_cast<double>(target));
      }
    });
  });
}

}  // namespace gta::cpu
