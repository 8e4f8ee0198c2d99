#include "layers/embedding/embedding.h"

namespace gta {

void require_tokens(const Tensor& tokens, int64_t vocab) {
  if (tokens.device().type != DeviceType::Cpu) return;
  const int32_t* const t = tokens.data<int32_t>();
  for (int64_t i = 0; i < tokens.elements(); ++i)
    require(t[i] >= 0 && t[i] < vocab, EmbeddingOp::name,
            "token {} is outside the vocabulary of {}: is the tokenizer the model's?", t[i], vocab);
}

void EmbeddingOp::check(const Tensor& weight) const {
  ensure(tokens.dtype() == DType::I32, name, "expected int32 tokens, got {}", describe(tokens));
  ensure(tokens.device() == weight.device(), name, "expected tokens on {} like the weight, got them on {}",
         name_of(weight.device()), name_of(tokens.device()));
  require_tokens(tokens, weight.rows());
}

Tensor EmbeddingOp::forward(Saved&, const Tensor& weight) const {
  Tensor y = Tensor::empty({tokens.elements(), weight.columns()}, weight.dtype(), weight.device());
  GTA_DISPATCH(y.device(), embedding_forward, tokens, weight, y);
  return y;
}

void EmbeddingOp::backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  if (!d_inputs[0].wanted()) return;
  const Tensor& d_y = d_outputs[0];
  GTA_DISPATCH(d_y.device(), embedding_backward, tokens, d_y, d_inputs[0].destination(), d_inputs[0].mode());
}

}  // namespace gta
