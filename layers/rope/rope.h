// RoPE, rotate-half, on the last rope_dim numbers of every head; the plain_dim before them are copied. With d =
// rope_dim, j < d/2 and the position p of the row,
//
//   y[j] = x[j] cos - x[j + d/2] sin        y[j + d/2] = x[j + d/2] cos + x[j] sin        angle = p theta^(-2j/d)
//
// x, y (tokens, heads * (plain_dim + d)). Row t has position t mod sequence, with documents counted from its document's
// first row; or positions are given row by row. The table holds cos and sin for every position, computed in double; it
// is float32 where x is bfloat16.
#pragma once

#include "core/tape.h"

namespace gta {

// (positions, rope_dim): cos of the d/2 angles, then sin. dtype is that of compute.
Tensor rope_table(int64_t positions, int64_t rope_dim, double theta, DType dtype, Device device);

struct RopeHeads {
  int64_t heads, rope_dim, plain_dim = 0;
  int64_t head_width() const { return plain_dim + rope_dim; }
};

// Where the rows of x stand.
struct RopePositions {
  int64_t sequence;
  Tensor table;
  Tensor document_starts = {};  // int32 (rows): row of the sequence where the row's document begins; undefined: 0
  Tensor given = {};            // int32 (rows), each within the table: the positions, whatever the others say
};

enum class Rotation : uint8_t { Forward, Back };
GTA_KERNEL(void rope_kernel(const RopeHeads& heads, const RopePositions& positions, Rotation rotation, const Tensor& x,
                            const Tensor& y, GradientMode mode))

struct RopeOp {
  static constexpr const char* name = "rope";
  RopeHeads heads;
  RopePositions positions;

  void check(const Tensor& x) const;
  Tensor forward(Saved& saved, const Tensor& x) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
