#include "layers/cross_entropy/linear_cross_entropy.h"

#include <algorithm>

namespace gta {
namespace {

constexpr int64_t kChunkLogits = int64_t{1} << 22;  // 16 MiB of float32: half of a shared cache, and rows enough for the products

}  // namespace

int64_t LinearCrossEntropyOp::chunk_rows(int64_t tokens, int64_t vocab) {
  return std::clamp<int64_t>(kChunkLogits / vocab / 64 * 64, 64, std::max<int64_t>(tokens, 64));
}

void LinearCrossEntropyOp::check(const Tensor& hidden, const Tensor& weight) const {
  require(hidden.columns() == weight.columns(), name, "expected hidden (tokens, {}) for a head {}, got {}", weight.columns(),
          to_string(weight.shape()), describe(hidden));
  require(labels.dtype() == DType::I32 && labels.elements() == hidden.rows(), name, "expected int32 labels for {} tokens, got {}", hidden.rows(),
          describe(labels));
  const int64_t bad = GTA_DISPATCH(labels.device(), find_bad_label, labels, weight.rows());
  require(bad < 0, name, "label {} is outside the vocabulary of {}", bad < 0 ? 0 : labels.to_vector<int32_t>()[bad], weight.rows());
}

Tensor LinearCrossEntropyOp::forward(Saved& saved, const Tensor& hidden, const Tensor& weight) const {
  const int64_t tokens = hidden.rows(), vocab = weight.rows();
  const int64_t chunk = chunk_rows(tokens, vocab);
  const bool training = saved.recording();
  if (training && !weight_gradient.defined()) fail(name, "needs to know where the gradient of the head goes");
  Tensor logits = Tensor::empty({std::min(chunk, tokens), vocab}, hidden.dtype(), hidden.device(), Purpose::Workspace);
  Tensor losses = Tensor::empty({tokens}, DType::F64, hidden.device(), Purpose::Workspace);
  Tensor d_hidden = training ? Tensor::empty(hidden.shape(), hidden.dtype(), hidden.device()) : Tensor{};
  const Tensor flat_labels = labels.reshape({tokens, 1}), flat_losses = losses.reshape({tokens, 1});
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t rows = std::min(chunk, tokens - first);
    const Tensor h = hidden.with_link({}).row_slice(first, rows), z = logits.row_slice(0, rows);
    gemm({.a = h, .b = weight, .transpose_b = Transpose::Yes, .c = z});
    {
      ProfilerRange range("cross_entropy");
      GTA_DISPATCH(z.device(), cross_entropy_rows, z, flat_labels.row_slice(first, rows), label_weight,
                   training ? CrossEntropyMode::LossAndGradient : CrossEntropyMode::LossOnly, flat_losses.row_slice(first, rows));
    }
    if (training) {
      gemm({.a = z, .b = weight, .c = d_hidden.row_slice(first, rows)});
      gemm({.a = z, .transpose_a = Transpose::Yes, .b = h, .c = weight_gradient, .mode = GradientMode::Accumulate});
    }
  }
  saved.keep(d_hidden);
  double total = 0;
  for (double loss : losses.to_vector<double>()) total += loss;
  return Tensor::from<double>({1}, {total}, Purpose::Workspace);
}

void LinearCrossEntropyOp::backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  if (d_outputs[0].to_vector<double>()[0] != 1.0) fail(name, "the loss is the root of backward: its gradient must be 1");
  d_inputs[0].give(saved[0]);
}

}  // namespace gta
