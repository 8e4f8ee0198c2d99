// RoPE, rotate-half: with d = head_dim, for j < d/2 and the position p of the row,
//
//   y[j] = x[j] cos - x[j + d/2] sin        y[j + d/2] = x[j + d/2] cos + x[j] sin        angle = p theta^(-2j/d)
//
// x, y (tokens, heads * head_dim). Row t has position first_position + t mod sequence. The table holds cos and sin for every position,
// computed in double; it is
// float32 where x is bfloat16.
#pragma once

#include "core/tape.h"

namespace gta {

// direction +1 rotates, -1 rotates back. y may be x's own memory only when they are the same tensor.
struct RopeArguments {
  int64_t heads, head_dim, sequence, first_position;
  int direction;
  GradientMode mode;
};
GTA_KERNEL(void rope_kernel(const RopeArguments& arguments, const Tensor& x, const Tensor& table, const Tensor& y))

// (positions, head_dim): cos of the d/2 angles, then sin. dtype is that of compute.
Tensor rope_table(int64_t positions, int64_t head_dim, double theta, DType dtype, Device device);

struct RopeOp {
  static constexpr const char* name = "rope";
  int64_t heads, head_dim, sequence, first_position;
  Tensor table;

  void check(const Tensor& x) const;
  Tensor forward(Saved& saved, const Tensor& x) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
