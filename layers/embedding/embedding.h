// Embedding: y[t] = weight[token[t]].          tokens int32 (tokens), weight (vocab, hidden), y (tokens, hidden)
//
// d weight[v] = sum over the t with token[t] = v, by rising t, of dy[t]: a fixed order, no atomics; in
// float32 where y is bfloat16.
#pragma once

#include "core/tape.h"

namespace gta {

GTA_KERNEL(void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& y))
GTA_KERNEL(void embedding_backward(const Tensor& tokens, const Tensor& d_y, const Tensor& d_weight, GradientMode mode))

// Error(BadInput) when one is outside [0, vocab). Looks at tokens on the host alone: whoever sends them to another
// device calls this before, since to ask a device is to wait for it.
void require_tokens(const Tensor& tokens, int64_t vocab);

struct EmbeddingOp {
  static constexpr const char* name = "embedding";
  Tensor tokens;

  void check(const Tensor& weight) const;
  Tensor forward(Saved& saved, const Tensor& weight) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
