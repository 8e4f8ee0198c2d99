// Linear: y = x W^T + b.        x (tokens, in), W (out, in), b (out) or undefined, y (tokens, out)
//
//   dx = dy W        dW = dy^T x        db = sum over tokens of dy
//
// W and b may be several parameters that lie next to each other (ParameterSpace): one product serves them all, and
// callers take column slices of y.
#pragma once

#include "core/tape.h"

namespace gta {

// d_bias (+)= sum over the rows of d_y, in a fixed order.
GTA_KERNEL(void sum_rows(const Tensor& d_y, const Tensor& d_bias, GradientMode mode))

struct LinearOp {
  static constexpr const char* name = "linear";

  void check(const Tensor& x, const Tensor& weight, const Tensor& bias) const;
  Tensor forward(Saved& saved, const Tensor& x, const Tensor& weight, const Tensor& bias) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

// The parameters of one or several linear maps of the same input, computed by one product.
struct LinearPart {
  std::string name;  // "q_proj": declares prefix + name + ".weight" (out, in) and ".bias" (out)
  int64_t out;
};
enum class Bias : uint8_t { None, Present };

class Linear {
 public:
  Linear(ParameterSpace& space, const std::string& prefix, const std::vector<LinearPart>& parts, int64_t in, Bias bias,
         double deviation);
  Tensor forward(Tape& tape, const Tensor& x) const;  // (tokens, sum of out)
  const Weight& weight() const { return *weight_; }

 private:
  const Weight* weight_;
  const Weight* bias_ = nullptr;
};

}  // namespace gta
