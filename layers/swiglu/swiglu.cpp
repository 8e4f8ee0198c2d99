#include "layers/swiglu/swiglu.h"

namespace gta {

void SwigluOp::check(const Tensor& gate_up) const {
  ensure(gate_up.columns() % 2 == 0, name, "expected gate and up side by side, an even number of columns, got {}",
         describe(gate_up));
}

namespace {

Tensor compute(const Tensor& gate_up) {
  Tensor y = Tensor::empty({gate_up.rows(), gate_up.columns() / 2}, gate_up.dtype(), gate_up.device());
  GTA_DISPATCH(y.device(), swiglu_forward, gate_up, y);
  return y;
}

}  // namespace

Tensor SwigluOp::forward(Saved& saved, const Tensor& gate_up) const {
  saved.keep(gate_up);
  return compute(gate_up);
}

Tensor SwigluOp::recompute(const Saved& saved) const { return compute(saved[0]); }

void SwigluOp::backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  if (d_inputs[0].wanted())
    GTA_DISPATCH(saved[0].device(), swiglu_backward, saved[0], d_outputs[0], d_inputs[0].destination(),
                 d_inputs[0].mode());
}

}  // namespace gta
