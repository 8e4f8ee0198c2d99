// The head and the loss in one op, in chunks of tokens, so that no more than a chunk of logits ever exists.
//
//   z = hidden W^T        loss = label_weight * sum over labelled t of (logsumexp(z[t]) - z[t, label[t]])
//   dz[t] = label_weight (softmax(z[t]) - onehot(label[t]))        d hidden = dz W        dW += dz^T hidden
//
// hidden (tokens, width), W (vocab, width), labels int32 (tokens), kIgnoredLabel has no loss; loss float64 (1).
// label_weight is 1 / labels of the whole global batch, so that micro-batches add up to the mean.
// A chunk's logits are overwritten by their gradient while they are in cache, so forward makes both gradients when the tape records:
// it is told where dW goes, and backward, whose d_loss must be 1, only hands d hidden over.
#pragma once

#include "core/tape.h"

namespace gta {

inline constexpr int32_t kIgnoredLabel = -1;

// logits (rows, vocab) -> losses float64 (rows) (0 where ignored); with gradient, logits become dz.
enum class CrossEntropyMode : uint8_t { LossOnly, LossAndGradient };
GTA_KERNEL(void cross_entropy_rows(const Tensor& logits, const Tensor& labels, double label_weight, CrossEntropyMode mode, const Tensor& losses))
GTA_KERNEL(int64_t find_bad_label(const Tensor& labels, int64_t vocab))

struct LinearCrossEntropyOp {
  static constexpr const char* name = "linear_cross_entropy";
  Tensor labels;
  double label_weight;
  Tensor weight_gradient;  // (vocab, width), added to; undefined when the tape does not record

  // Tokens of one chunk (which may be more than there are).
  static int64_t chunk_rows(int64_t tokens, int64_t vocab);

  void check(const Tensor& hidden, const Tensor& weight) const;
  Tensor forward(Saved& saved, const Tensor& hidden, const Tensor& weight) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
