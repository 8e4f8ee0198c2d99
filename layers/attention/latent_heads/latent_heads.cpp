#include "layers/attention/latent_heads/latent_heads.h"

namespace gta {

void RopeTailOp::check(const Tensor& x) const {
  require(rope_dim > 0 && rope_dim % 2 == 0, name, "rope_dim {} is odd: RoPE rotates pairs", rope_dim);
  require(x.columns() == heads * (nope_dim + rope_dim), name, "expected x (tokens, {} heads x ({} + {})), got {}", heads, nope_dim,
          rope_dim, describe(x));
  require(sequence > 0 && x.rows() % sequence == 0, name, "{} rows are no whole number of sequences of {}", x.rows(), sequence);
  require(table.columns() == rope_dim, name, "expected a table of {} columns, got {}", rope_dim, describe(table));
  require(first_position >= 0 && first_position + sequence <= table.rows(), name,
          "positions [{}, {}) are outside the table of {}: raise model.max_sequence_length", first_position, first_position + sequence,
          table.rows());
}

Tensor RopeTailOp::forward(Saved&, const Tensor& x) const {
  Tensor y = Tensor::empty({x.rows(), x.columns()}, x.dtype(), x.device());
  GTA_DISPATCH(x.device(), rope_tail_kernel, RopeTail{heads, nope_dim, rope_dim, sequence, first_position, +1, GradientMode::Overwrite}, x,
               table, y);
  return y;
}

void RopeTailOp::backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  if (!d_inputs[0].wanted()) return;
  GTA_DISPATCH(table.device(), rope_tail_kernel, RopeTail{heads, nope_dim, rope_dim, sequence, first_position, -1, d_inputs[0].mode()},
               d_outputs[0], table, d_inputs[0].destination());
}

void LatentHeadsOp::check(const Tensor& kv, const Tensor& k_rope) const {
  const auto& [heads, nope_dim, rope_dim, value_dim] = sizes;
  require(kv.columns() == heads * (nope_dim + value_dim), name, "expected kv (tokens, {} heads x ({} + {})), got {}", heads, nope_dim,
          value_dim, describe(kv));
  require(k_rope.columns() == rope_dim && k_rope.rows() == kv.rows(), name, "expected k_rope ({} tokens, {}), got {}", kv.rows(), rope_dim,
          describe(k_rope));
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
