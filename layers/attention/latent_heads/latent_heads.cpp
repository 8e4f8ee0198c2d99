#include "layers/attention/latent_heads/latent_heads.h"

namespace gta {

void LatentHeadsOp::check(const Tensor& kv, const Tensor& k_rope) const {
  const auto& [heads, nope_dim, rope_dim, value_dim] = sizes;
  ensure(kv.columns() == heads * (nope_dim + value_dim), name, "expected kv (tokens, {} heads x ({} + {})), got {}",
         heads, nope_dim, value_dim, describe(kv));
  ensure(k_rope.columns() == rope_dim && k_rope.rows() == kv.rows(), name, "expected k_rope ({} tokens, {}), got {}",
         kv.rows(), rope_dim, describe(k_rope));
}

std::array<Tensor, 2> LatentHeadsOp::forward(Saved&, const Tensor& kv, const Tensor& k_rope) const {
  Tensor k = Tensor::empty({kv.rows(), sizes.heads * (sizes.nope_dim + sizes.rope_dim)}, kv.dtype(), kv.device());
  Tensor v = Tensor::empty({kv.rows(), sizes.heads * sizes.value_dim}, kv.dtype(), kv.device());
  GTA_DISPATCH(kv.device(), latent_heads_join, sizes, kv, k_rope, k, v);
  return {k, v};
}

void LatentHeadsOp::backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  const Tensor &d_k = d_outputs[0], &d_v = d_outputs[1];
  LatentHeadsBackward arguments{sizes, d_k, d_v, {}, {}, d_inputs[0].mode(), d_inputs[1].mode()};
  // Where an output that nothing used leaves a part of a gradient unwritten, that part is zero.
  const auto prepare = [](GradientSlot& slot, bool whole, Tensor& destination, GradientMode& mode) {
    if (!slot.wanted()) return;
    destination = slot.destination();
    if (whole || mode == GradientMode::Accumulate) return;
    destination.fill_zero();
    mode = GradientMode::Accumulate;
  };
  prepare(d_inputs[0], d_k.defined() && d_v.defined(), arguments.d_kv, arguments.mode_kv);
  prepare(d_inputs[1], d_k.defined(), arguments.d_k_rope, arguments.mode_k_rope);
  GTA_DISPATCH((d_k.defined() ? d_k : d_v).device(), latent_heads_split, arguments);
}

}  // namespace gta
