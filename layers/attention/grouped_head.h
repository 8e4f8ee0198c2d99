// Grouped-head attention (GHA): m = heads / query_heads heads share one map, and maps may share keys and values.
// Grouped-value attention (GVA) is GHA with value_heads = heads: every head has a value of its own.
//
//   [q | k | v] = x W^T + b (one product)      q, k = rope(q), rope(k)      u = core(q, k, v)      y = u W_O^T
//   maps nq = query_heads, key heads = key_heads, dk = head_dim, scale = head_dim^-1/2
//
// The values of m heads lie next to each other, so the core sees value_heads / m value heads of width m * head_dim, and
// column block g of u holds heads g m .. g m + m - 1. Map g takes value head g / (nq / (value_heads / m)).
#pragma once

#include "layers/attention/attention_context.h"
#include "layers/linear/linear.h"
#include "layers/transformer/model_config.h"

namespace gta {

class GroupedHeadAttention {
 public:
  GroupedHeadAttention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config);
  Tensor forward(Tape& tape, const Tensor& x, const AttentionContext& context) const;

  static int64_t value_heads(const ModelConfig& config);  // of head_dim each
  static CacheWidths cache_widths(const ModelConfig& config);
  static int64_t map_multiply_adds(const ModelConfig& config);

 private:
  int64_t query_heads_, key_heads_, value_heads_, head_dim_;
  int64_t width_;  // heads * head_dim
  Linear qkv_, output_;
};

}  // namespace gta
