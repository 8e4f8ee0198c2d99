#include "layers/attention/value_decoder/value_decoder.h"

namespace gta {
namespace {

// On the meta device the products of one map stand for those of all: they only allocate, and that once.
int64_t maps_to_compute(const Tensor& u, int64_t query_heads) {
  return u.device().type == DeviceType::Meta ? 1 : query_heads;
}

}  // namespace

void ValueDecoderOp::check(const Tensor& u, const Tensor& z, const Tensor& p) const {
  ensure(u.columns() == query_heads * latent_dim && u.rows() == z.rows(), name,
         "expected u ({} tokens, {} maps x {}), got {}", z.rows(), query_heads, latent_dim, describe(u));
  ensure(z.columns() % u.columns() == 0, name, "latent_dim {} does not divide a group's width {}", latent_dim,
         z.columns() / query_heads);
  if (p.defined())
    ensure(p.rows() == u.columns() && p.columns() == z.columns() / query_heads, name, "expected p ({}, {}), got {}",
           u.columns(), z.columns() / query_heads, describe(p));
}

void ValueDecoderOp::decode(const Tensor& u, const Tensor& p, const Tensor& y) const {
  const int64_t width = p.columns();
  for (int64_t g = 0; g < maps_to_compute(u, query_heads); ++g)
    gemm({.a = u.column_slice(g * latent_dim, latent_dim),
          .b = p.with_link({}).row_slice(g * latent_dim, latent_dim),
          .c = y.column_slice(g * width, width)});
}

Tensor ValueDecoderOp::compute(const Tensor& u, const Tensor& z, const Tensor& p) const {
  Tensor o = Tensor::empty({z.rows(), z.columns()}, u.dtype(), u.device());
  if (p.defined() &&
      GTA_DISPATCH(o.device(), value_decoder_forward_tiles, ValueDecoderForward{gate, query_heads, u, z, p, o}))
    return o;
  if (p.defined()) decode(u, p, o);
  GTA_DISPATCH(o.device(), value_decoder_combine, gate, p.defined() ? LearnedPart::Present : LearnedPart::Absent, u, z,
               query_heads, o);
  return o;
}

Tensor ValueDecoderOp::forward(Saved& saved, const Tensor& u, const Tensor& z, const Tensor& p) const {
  for (const Tensor& tensor : {u, z, p}) saved.keep(tensor);
  return compute(u, z, p);
}

Tensor ValueDecoderOp::recompute(const Saved& saved) const { return compute(saved[0], saved[1], saved[2]); }

void ValueDecoderOp::backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  const Tensor &u = saved[0], &z = saved[1], &p = saved[2];
  Tensor y = Tensor::empty({z.rows(), z.columns()}, u.dtype(), u.device(), Purpose::Workspace);
  const Tensor d_u = d_inputs[0].wanted() ? d_inputs[0].destination() : Tensor{};
  const ValueDecoderBackward split{gate,
                                   p.defined() ? LearnedPart::Present : LearnedPart::Absent,
                                   query_heads,
                                   u,
                                   z,
                                   d_outputs[0],
                                   y,
                                   d_inputs[1].wanted() ? d_inputs[1].destination() : Tensor{},
                                   d_u,
                                   d_inputs[1].mode(),
                                   d_inputs[0].mode()};
  if (p.defined()) {
    const Tensor d_p = d_inputs[2].wanted() ? d_inputs[2].destination() : Tensor{};
    if (GTA_DISPATCH(u.device(), value_decoder_backward_tiles, split, p, d_p, d_inputs[2].mode())) return;
    decode(u, p, y);
  }
  GTA_DISPATCH(u.device(), value_decoder_split, split);
  if (!p.defined()) return;
  const int64_t width = p.columns();
  for (int64_t g = 0; g < maps_to_compute(u, query_heads); ++g) {
    const Tensor d_y = y.column_slice(g * width, width);
    if (d_u.defined())
      gemm({.a = d_y,
            .b = p.with_link({}).row_slice(g * latent_dim, latent_dim),
            .transpose_b = Transpose::Yes,
            .c = d_u.column_slice(g * latent_dim, latent_dim),
            .mode = GradientMode::Accumulate});
    if (d_inputs[2].wanted())
      gemm({.a = u.column_slice(g * latent_dim, latent_dim),
            .transpose_a = Transpose::Yes,
            .b = d_y,
            .c = d_inputs[2].destination().row_slice(g * latent_dim, latent_dim),
            .mode = d_inputs[2].mode()});
  }
}

}  // namespace gta
