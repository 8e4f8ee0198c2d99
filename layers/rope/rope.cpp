#include "layers/rope/rope.h"

#include <cmath>

namespace gta {

Tensor rope_table(int64_t positions, int64_t rope_dim, double theta, DType dtype, Device device) {
  if (device.type == DeviceType::Meta)
    return Tensor::empty({positions, rope_dim}, state_dtype(dtype), device, Purpose::Parameters);
  const int64_t half = rope_dim / 2;
  Tensor host = Tensor::empty({positions, rope_dim}, state_dtype(dtype), Device{}, Purpose::Parameters);
  dispatch_state(host.dtype(), "rope", [&](auto zero) {
    using T = decltype(zero);
    T* const out = host.data<T>();
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t j = 0; j < half; ++j) {
        const double angle =
            static_cast<double>(p) * std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(rope_dim));
        out[p * rope_dim + j] = static_cast<T>(std::cos(angle));
        out[p * rope_dim + half + j] = static_cast<T>(std::sin(angle));
      }
  });
  return host.to(device, Purpose::Parameters);
}

void RopeOp::check(const Tensor& x) const {
  const auto& [sequence, table, starts, given] = positions;
  ensure(heads.rope_dim > 0 && heads.rope_dim % 2 == 0, name, "rope_dim {} is odd: RoPE rotates pairs", heads.rope_dim);
  ensure(x.columns() == heads.heads * heads.head_width(), name, "expected x (tokens, {} heads x ({} + {})), got {}",
         heads.heads, heads.plain_dim, heads.rope_dim, describe(x));
  ensure(sequence > 0 && x.rows() % sequence == 0, name, "{} rows are no whole number of sequences of {}", x.rows(),
         sequence);
  ensure(table.columns() == heads.rope_dim, name, "expected a table of {} columns, got {}", heads.rope_dim,
         describe(table));
  ensure(given.defined() || sequence <= table.rows(), name,
         "positions [0, {}) are outside the table of {}: raise model.max_sequence_length", sequence, table.rows());
  ensure(!starts.defined() || (starts.dtype() == DType::I32 && starts.elements() == x.rows()), name,
         "expected int32 document_starts for {} rows, got {}", x.rows(), describe(starts));
  ensure(!given.defined() || (given.dtype() == DType::I32 && given.elements() == x.rows()), name,
         "expected int32 positions for {} rows, got {}", x.rows(), describe(given));
}

Tensor RopeOp::forward(Saved&, const Tensor& x) const {
  Tensor y = Tensor::empty({x.rows(), x.columns()}, x.dtype(), x.device());
  GTA_DISPATCH(x.device(), rope_kernel, heads, positions, Rotation::Forward, x, y, GradientMode::Overwrite);
  return y;
}

void RopeOp::backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  if (!d_inputs[0].wanted()) return;
  GTA_DISPATCH(positions.table.device(), rope_kernel, heads, positions, Rotation::Back, d_outputs[0],
               d_inputs[0].destination(), d_inputs[0].mode());
}

}  // namespace gta
