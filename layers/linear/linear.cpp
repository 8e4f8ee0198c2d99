#include "layers/linear/linear.h"

namespace gta {

void LinearOp::check(const Tensor& x, const Tensor& weight, const Tensor& bias) const {
  ensure(weight.shape().rank() == 2 && x.columns() == weight.columns(), name,
         "expected x (tokens, {}) for a weight {}, got {}", weight.columns(), to_string(weight.shape()), describe(x));
  ensure(!bias.defined() || bias.elements() == weight.rows(), name, "expected a bias of {}, got {}", weight.rows(),
         describe(bias));
}

Tensor LinearOp::forward(Saved& saved, const Tensor& x, const Tensor& weight, const Tensor& bias) const {
  Tensor y = Tensor::empty({x.rows(), weight.rows()}, x.dtype(), x.device());
  gemm({.a = x, .b = weight, .transpose_b = Transpose::Yes, .c = y, .bias = bias});
  saved.keep(x);
  saved.keep(weight);
  return y;
}

void LinearOp::backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  const Tensor &d_y = d_outputs[0], &x = saved[0], &weight = saved[1];
  if (d_inputs[0].wanted()) gemm({.a = d_y, .b = weight, .c = d_inputs[0].destination(), .mode = d_inputs[0].mode()});
  if (d_inputs[1].wanted())
    gemm({.a = d_y, .transpose_a = Transpose::Yes, .b = x, .c = d_inputs[1].destination(), .mode = d_inputs[1].mode()});
  if (d_inputs[2].wanted()) GTA_DISPATCH(d_y.device(), sum_rows, d_y, d_inputs[2].destination(), d_inputs[2].mode());
}

Linear::Linear(ParameterSpace& space, const std::string& prefix, const std::vector<LinearPart>& parts, int64_t in,
               Bias bias, double deviation) {
  std::vector<ParameterSpec> weights, biases;
  for (const LinearPart& part : parts) {
    weights.push_back({prefix + part.name + ".weight", {part.out, in}, Initializer::normal(deviation)});
    biases.push_back({prefix + part.name + ".bias", {part.out}, Initializer::zeros()});
  }
  weight_ = space.add(weights);
  if (bias == Bias::Present) bias_ = space.add(biases);
}

Tensor Linear::forward(Tape& tape, const Tensor& x) const {
  if (weight_->int8) {
    ensure(!tape.recording(), "linear", "there is no backward through int8 weights");
    Tensor y = Tensor::empty({x.rows(), weight_->shape[0]}, x.dtype(), x.device());
    multiply(x, *weight_->int8, bias_ ? bias_->value : Tensor{}, y);
    return y;
  }
  return tape.apply(LinearOp{}, x, tape.use(*weight_), bias_ ? tape.use(*bias_) : Tensor{});
}

}  // namespace gta
