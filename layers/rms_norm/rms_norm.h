// RMSNorm, alone and fused with the residual addition before it.
//
//   s = x + r        rstd[t] = (mean over columns of s[t]^2 + eps)^-1/2        y = s * rstd * weight
//   x, r, s, y (tokens, width), weight (width), rstd (tokens); weight and rstd float32 where the others are bfloat16
//
//   with n = s * rstd and w = dy * weight:
//   ds_total = ds + rstd * (w - n * mean(w * n)),  dx = dr = ds_total,  dweight = sum_t dy * n
#pragma once

#include "core/tape.h"

namespace gta {

// y = s * rstd * weight, as forward computes it.
GTA_KERNEL(void rms_norm_scale(const Tensor& s, const Tensor& rstd, const Tensor& weight, const Tensor& y))
// residual undefined: s is not written and x is normalised.
GTA_KERNEL(void rms_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps,
                                 const Tensor& s, const Tensor& y, const Tensor& rstd))
struct RmsNormBackward {
  Tensor s, rstd, weight, d_y;
  // d_total = (d_s or 0) + the gradient through the norm (+ d_total when its mode is Accumulate); it may be d_s itself,
  // or undefined.
  Tensor d_s, d_total;
  GradientMode mode_total;
  Tensor d_weight;  // undefined: not wanted
  GradientMode mode_weight;
};
GTA_KERNEL(void rms_norm_backward(const RmsNormBackward& arguments))

struct RmsNormOp {
  static constexpr const char* name = "rms_norm";
  static constexpr size_t recomputed_output = 0;
  double eps;

  void check(const Tensor& x, const Tensor& weight) const;
  Tensor forward(Saved& saved, const Tensor& x, const Tensor& weight) const;
  Tensor recompute(const Saved& saved) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

struct ResidualRmsNormOp {
  static constexpr const char* name = "residual_rms_norm";
  static constexpr size_t recomputed_output = 1;  // y
  double eps;

  void check(const Tensor& x, const Tensor& residual, const Tensor& weight) const;
  // s, y
  std::array<Tensor, 2> forward(Saved& saved, const Tensor& x, const Tensor& residual, const Tensor& weight) const;
  Tensor recompute(const Saved& saved) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

class RmsNorm {
 public:
  RmsNorm(ParameterSpace& space, const std::string& name, int64_t width, double eps);
  Tensor forward(Tape& tape, const Tensor& x) const;
  std::array<Tensor, 2> forward(Tape& tape, const Tensor& x, const Tensor& residual) const;

 private:
  const Weight* weight_;
  double eps_;
};

}  // namespace gta
