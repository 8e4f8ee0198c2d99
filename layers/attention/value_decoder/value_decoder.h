// GTA's value decoder and gate: from the latent result of the core to the heads.
//
//   Y_g = [U_g, U_g, ..., U_g] + U_g P_g        (copies and learned part; or the copies alone)        O = f(Z) * Y
//   U (tokens, nq * dl)   P (nq * dl, e * dl), read as (nq, dl, e dl)   Z, O (tokens, nq * e * dl)
//   f: sigmoid, silu or relu^2
//
//   dY = dO * f(Z)     dZ = dO * Y * f'(Z)     dU = sum over copies of dY + dY P^T     dP = sum over tokens of U^T dY
//   f': S(1-S), S(1 + z(1-S)), 2 max(z, 0)     with S = sigmoid(z)
//
// The copies are added in the compute dtype, never folded into P. Y is computed again in backward.
#pragma once

#include "core/tape.h"
#include "layers/attention/attention_config.h"

namespace gta {

enum class LearnedPart : uint8_t { Absent, Present };

// o holds U P on entry when learned is Present, and f(Z) (copies + that) on return.
GTA_KERNEL(void value_decoder_combine(GateType gate, LearnedPart learned, const Tensor& u, const Tensor& z,
                                      int64_t query_heads, const Tensor& o))
// y holds U P on entry when learned is Present, and dY on return; d_z and d_u (the sum over copies, and dY P^T where P
// is at hand) may be undefined.
struct ValueDecoderBackward {
  GateType gate;
  LearnedPart learned;
  int64_t query_heads;
  Tensor u, z, d_o, y;
  Tensor d_z, d_u;
  GradientMode mode_z, mode_u;
};
GTA_KERNEL(void value_decoder_split(const ValueDecoderBackward& arguments))

// The products too, where a device has kernels that make them in passing; else nothing is done and the answer is false.
struct ValueDecoderForward {
  GateType gate;
  int64_t query_heads;
  Tensor u, z, p, o;
};
GTA_KERNEL(bool value_decoder_forward_tiles(const ValueDecoderForward& arguments))
// y is written alone; d_p (float32) may be undefined.
GTA_KERNEL(bool value_decoder_backward_tiles(const ValueDecoderBackward& arguments, const Tensor& p, const Tensor& d_p,
                                             GradientMode mode_p))

struct ValueDecoderOp {
  static constexpr const char* name = "value_decoder";
  static constexpr size_t recomputed_output = 0;
  int64_t query_heads, latent_dim;
  GateType gate;

  void check(const Tensor& u, const Tensor& z, const Tensor& p) const;
  Tensor forward(Saved& saved, const Tensor& u, const Tensor& z, const Tensor& p) const;  // p undefined: copies alone
  Tensor recompute(const Saved& saved) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;

 private:
  Tensor compute(const Tensor& u, const Tensor& z, const Tensor& p) const;
  void decode(const Tensor& u, const Tensor& p, const Tensor& y) const;  // y = U P, map by map
};

}  // namespace gta
