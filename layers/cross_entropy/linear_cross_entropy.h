// The head and the loss in one op, in chunks of tokens, so that no more than a chunk of logits ever exists.
//
//   z = hidden W^T        L[t] = logsumexp(z[t])
//   cross_entropy = label_weight * sum over labelled t of (L[t] - z[t, label[t]])
//   loss = cross_entropy + label_weight * z_loss * sum over labelled t of L[t]^2
//   dz[t] = label_weight ((1 + 2 z_loss L[t]) softmax(z[t]) - onehot(label[t]))
//   d hidden = dz W     dW += dz^T hidden
//
// hidden (tokens, width), W (vocab, width), labels int32 (tokens), kIgnoredLabel has no loss; loss, cross_entropy
// float64 (1). z_loss (PaLM, arXiv 2204.02311: 1e-4) keeps L near zero, so that bfloat16 logits stay small.
// label_weight is 1 / labels of the whole global batch, so that micro-batches add up to the mean. Logits and the loss
// are float32 where hidden is bfloat16; their gradient is rounded for the products. A chunk's logits are overwritten by
// their gradient while they are in cache, so forward makes both gradients when the tape records: dW goes to its slot
// then, and backward, whose d_loss must be 1 and lie on the host, only hands d hidden over.
#pragma once

#include "core/tape.h"

namespace gta {

inline constexpr int32_t kIgnoredLabel = -1;

// logits (rows, vocab) -> losses float64 (rows, 2) (loss and cross-entropy, 0 where ignored) and, with gradient,
// d_logits (rows, vocab): the logits' own memory where the dtypes are one. The logits are overwritten in any case.
enum class CrossEntropyMode : uint8_t { LossOnly, LossAndGradient };
GTA_KERNEL(void cross_entropy_rows(const Tensor& logits, const Tensor& labels, double label_weight, double z_loss,
                                   CrossEntropyMode mode, const Tensor& losses, const Tensor& d_logits))
// losses float64 (rows, 2) -> totals float64 (2), in a fixed order.
GTA_KERNEL(void sum_losses(const Tensor& losses, const Tensor& totals))

// Error(BadInput) when one is neither in [0, vocab) nor kIgnoredLabel. See require_tokens (embedding.h).
void require_labels(const Tensor& labels, int64_t vocab);

struct LinearCrossEntropyOp {
  static constexpr const char* name = "linear_cross_entropy";
  Tensor labels;
  double label_weight;
  double z_loss = 0;
  // float64 (tokens, 2) beside the head: receives the parts of both sums, loss and cross-entropy of each token; or
  // undefined
  Tensor token_losses = {};

  // Tokens of one chunk (which may be more than there are).
  static int64_t chunk_rows(int64_t tokens, int64_t vocab, DeviceType device);

  void check(const Tensor& hidden, const Tensor& weight) const;
  // loss, cross_entropy. d_weights: of hidden (not looked at) and weight, which has to be wanted when the tape records
  std::array<Tensor, 2> forward(Saved& saved, std::span<GradientSlot> d_weights, const Tensor& hidden,
                                const Tensor& weight) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
