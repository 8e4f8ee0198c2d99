// SwiGLU: y = silu(z) * u,  silu(z) = z sigmoid(z),  [z | u] = gate_up.    gate_up (tokens, 2 width), y (tokens, width)
//
//   with S = sigmoid(z):  dz = dy * u * S (1 + z (1 - S))        du = dy * z * S
#pragma once

#include "core/tape.h"

namespace gta {

GTA_KERNEL(void swiglu_forward(const Tensor& gate_up, const Tensor& y))
GTA_KERNEL(void swiglu_backward(const Tensor& gate_up, const Tensor& d_y, const Tensor& d_gate_up, GradientMode mode))

struct SwigluOp {
  static constexpr const char* name = "swiglu";
  static constexpr size_t recomputed_output = 0;

  void check(const Tensor& gate_up) const;
  Tensor forward(Saved& saved, const Tensor& gate_up) const;
  Tensor recompute(const Saved& saved) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
