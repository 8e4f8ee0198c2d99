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

void sum_losses(const Tensor& losses, const Tensor& totals) {
  double loss = 0, cross_entropy = 0;
  for (int64_t t = 0; t < losses.rows(); ++t) {
    loss += losses.data<double>()[t * losses.pitch()];
    cross_entropy += losses.data<double>()[t * losses.pitch() + 1];
  }
  totals.data<double>()[0] = loss;
  totals.data<double>()[1] = cross_entropy;
}

void cross_entropy_rows(const Tensor& logits, const Tensor& labels, double label_weight, double z_loss,
                        CrossEntropyMode mode, const Tensor& losses, const Tensor& d_logits) {
  dispatch_floating(d_logits.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t vocab = logits.columns();
    parallel_ranges(logits.rows(), 8, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        C* const z = logits.template data<C>() + t * logits.pitch();
        T* const d_z = d_logits.template data<T>() + t * d_logits.pitch();
        const int32_t label = labels.data<int32_t>()[t];
        double* const loss = losses.data<double>() + t * losses.pitch();
        if (label == kIgnoredLabel) {
          loss[0] = loss[1] = 0;
          if (mode == CrossEntropyMode::LossAndGradient) std::fill_n(d_z, vocab, T{});
          continue;
        }
        C largest = z[0];
#pragma omp simd reduction(max : largest)
        for (int64_t v = 0; v < vocab; ++v) largest = std::max(largest, z[v]);
        const C target = z[label];
        double sum = 0;
        for (int64_t begin = 0; begin < vocab; begin += kSumPiece) {
          const int64_t end = std::min(vocab, begin + kSumPiece);
          C piece = 0;
#pragma omp simd reduction(+ : piece)
          for (int64_t v = begin; v < end; ++v) {
            z[v] = fast_exp(z[v] - largest);
            piece += z[v];
          }
          sum += static_cast<double>(piece);
        }
        const double logsumexp = static_cast<double>(largest) + std::log(sum);
        if (mode == CrossEntropyMode::LossAndGradient) {
          const C scale = static_cast<C>(label_weight * (1 + 2 * z_loss * logsumexp) / sum);
          const C at_label = z[label] * scale - static_cast<C>(label_weight);
#pragma omp simd
          for (int64_t v = 0; v < vocab; ++v) store(d_z[v], z[v] * scale);
          store(d_z[label], at_label);
        }
        loss[1] = label_weight * (logsumexp - static_cast<double>(target));
        loss[0] = loss[1] + label_weight * z_loss * logsumexp * logsumexp;
      }
    });
  });
}

}  // namespace gta::cpu
