#include "layers/rms_norm/rms_norm.h"

namespace gta {
namespace {

void check_norm(const char* name, const Tensor& x, const Tensor& weight) {
  ensure(weight.elements() == x.columns(), name, "expected a weight of {} for x {}, got {}", x.columns(), describe(x),
         describe(weight));
}

// Both ops save what is normalised, its scales and the weight, in this order.
Tensor normalised_again(const Saved& saved) {
  Tensor y = Tensor::empty(saved[0].shape(), saved[0].dtype(), saved[0].device());
  GTA_DISPATCH(y.device(), rms_norm_scale, saved[0], saved[1], saved[2], y);
  return y;
}

Tensor destination_of(GradientSlot& slot) { return slot.wanted() ? slot.destination() : Tensor{}; }

}  // namespace

void RmsNormOp::check(const Tensor& x, const Tensor& weight) const { check_norm(name, x, weight); }

Tensor RmsNormOp::forward(Saved& saved, const Tensor& x, const Tensor& weight) const {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device()),
         rstd = Tensor::empty({x.rows()}, state_dtype(x.dtype()), x.device());
  GTA_DISPATCH(x.device(), rms_norm_forward, x, Tensor{}, weight, eps, Tensor{}, y, rstd);
  for (const Tensor& tensor : {x, rstd, weight}) saved.keep(tensor);
  return y;
}

Tensor RmsNormOp::recompute(const Saved& saved) const { return normalised_again(saved); }

void RmsNormOp::backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  const Tensor &x = saved[0], &rstd = saved[1], &weight = saved[2];
  GTA_DISPATCH(x.device(), rms_norm_backward,
               RmsNormBackward{x,
                               rstd,
                               weight,
                               d_outputs[0],
                               {},
                               destination_of(d_inputs[0]),
                               d_inputs[0].mode(),
                               destination_of(d_inputs[1]),
                               d_inputs[1].mode()});
}

void ResidualRmsNormOp::check(const Tensor& x, const Tensor& residual, const Tensor& weight) const {
  ensure(x.rows() == residual.rows() && x.columns() == residual.columns(), name,
         "expected x and residual of one shape, got {} and {}", describe(x), describe(residual));
  check_norm(name, x, weight);
}

std::array<Tensor, 2> ResidualRmsNormOp::forward(Saved& saved, const Tensor& x, const Tensor& residual,
                                                 const Tensor& weight) const {
  Tensor s = Tensor::empty(x.shape(), x.dtype(), x.device()), y = Tensor::empty(x.shape(), x.dtype(), x.device());
  Tensor rstd = Tensor::empty({x.rows()}, state_dtype(x.dtype()), x.device());
  GTA_DISPATCH(x.device(), rms_norm_forward, x, residual, weight, eps, s, y, rstd);
  for (const Tensor& tensor : {s, rstd, weight}) saved.keep(tensor);
  return {s, y};
}

Tensor ResidualRmsNormOp::recompute(const Saved& saved) const { return normalised_again(saved); }

void ResidualRmsNormOp::backward(const Saved& saved, std::span<Tensor> d_outputs,
                                 std::span<GradientSlot> d_inputs) const {
  const Tensor &s = saved[0], &rstd = saved[1], &weight = saved[2];
  Tensor &d_s = d_outputs[0], &d_y = d_outputs[1];
  if (d_y.defined()) {
    // The sum's gradient takes the place of d_s where nobody else looks at it, and serves x and the residual alike.
    Tensor total = d_s.defined() && d_s.unique() ? d_s : Tensor::empty(s.shape(), s.dtype(), s.device());
    GTA_DISPATCH(s.device(), rms_norm_backward,
                 RmsNormBackward{s, rstd, weight, d_y, d_s, total, GradientMode::Overwrite, destination_of(d_inputs[2]),
                                 d_inputs[2].mode()});
    d_s = total;
  } else if (d_inputs[2].mode() == GradientMode::Overwrite) {
    d_inputs[2].destination().fill_zero();
  }
  d_inputs[0].give(d_s);
  d_inputs[1].give(d_s);
}

RmsNorm::RmsNorm(ParameterSpace& space, const std::string& name, int64_t width, double eps)
    : weight_(space.add({{name + ".weight", {width}, Initializer::ones()}})), eps_(eps) {}

Tensor RmsNorm::forward(Tape& tape, const Tensor& x) const {
  return tape.apply(RmsNormOp{eps_}, x, tape.use(*weight_));
}

std::array<Tensor, 2> RmsNorm::forward(Tape& tape, const Tensor& x, const Tensor& residual) const {
  return tape.apply(ResidualRmsNormOp{eps_}, x, residual, tape.use(*weight_));
}

}  // namespace gta
