// Every product shape of a training step, by the model's configuration.
//
//   a linear map y = x W^T of `tokens` rows:  y (tokens, out) = x W^T   dx (tokens, in) = dy W   dW (out, in) += dy^T x
//   GTA's value decoder, map by map:          y = u P (again in backward)   du += dy P^T             dP += u^T dy
//   the head, chunk by chunk of tokens:         as a linear map
//
// The products of attention's own blocks are inside its kernel (bench/kernels.h).
#pragma once

#include <string>
#include <vector>

#include "core/gemm.h"
#include "layers/transformer/model_config.h"

namespace gta {

struct Product {
  std::string name;  // "gate+up forward"
  int64_t m, n, k;   // C (m, n) = op(A) op(B), sums of k
  Transpose transpose_a, transpose_b;
  GradientMode mode;
  int64_t calls;  // per step

  double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

std::vector<Product> products_of_step(const ModelConfig& config, int64_t tokens, DeviceType device);

}  // namespace gta
