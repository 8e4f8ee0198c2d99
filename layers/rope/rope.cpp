#include "layers/rope/rope.h"

#include <cmath>

namespace gta {

Tensor rope_table(int64_t positions, int64_t head_dim, double theta, DType dtype, Device device) {
  const int64_t half = head_dim / 2;
  Tensor host = Tensor::empty({positions, head_dim}, state_dtype(dtype), Device{}, Purpose::Parameters);
  dispatch_state(host.dtype(), "rope", [&](auto zero) {
    using T = decltype(zero);
    T* const out = host.data<T>();
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t j = 0; j < half; ++j) {
        const double angle = static_cast<double>(p) * std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
        out[p * head_dim + j] = static_cast<T>(std::cos(angle));
        out[p * head_dim + half + j] = static_cast<T>(std::sin(angle));
      }
  });
  return host.to(device, Purpose::Parameters);
}

void RopeOp::check(const Tensor& x) const {
  require(head_dim > 0 && head_dim % 2 == 0, name, "head_dim {} is odd: RoPE rotates pairs", head_dim);
  require(x.columns() == heads * head_dim, name, "expected x (tokens, {} heads x {}), got {}", heads, head_dim, describe(x));
  require(sequence > 0 && x.rows() % sequence == 0, name, "{} rows are no whole number of sequences of {}", x.rows(), sequence);
  require(table.columns() == head_dim && first_position >= 0 && first_position + sequence <= table.rows(), name,
          "positions [{}, {}) are outside the table of {}: raise model.max_sequence_length", first_position, first_position + sequence,
          table.rows());
}

Tensor RopeOp::forward(Saved&, const Tensor& x) const {
  Tensor y = Tensor::empty({x.rows(), x.columns()}, x.dtype(), x.device());
  GTA_DISPATCH(x.device(), rope_kernel, RopeArguments{heads, head_dim, sequence, first_position, +1, GradientMode::Overwrite}, x, table, y);
  return y;
}

void RopeOp::backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
  if (!d_inputs[0].wanted()) return;
  GTA_DISPATCH(table.device(), rope_kernel, RopeArguments{heads, head_dim, sequence, first_position, -1, d_inputs[0].mode()}, d_outputs[0], table,
               d_inputs[0].destination());
}

}  // namespace gta
