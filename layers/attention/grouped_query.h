// Grouped-query attention; MHA is kv_heads = heads, MQA kv_heads = 1.
//
//   [q | k | v] = x W^T + b (one product)      q, k = rope(q), rope(k)      u = core(q, k, v)      y = u W_O^T
//   maps nq = heads, key heads = value heads = kv_heads, dk = dv = head_dim, scale = head_dim^-1/2
#pragma once

#include "layers/attention/attention_context.h"
#include "layers/linear/linear.h"
#include "layers/transformer/model_config.h"

namespace gta {

class GroupedQueryAttention {
 public:
  GroupedQueryAttention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config);
  Tensor forward(Tape& tape, const Tensor& x, const AttentionContext& context) const;

  static int64_t kv_heads(const ModelConfig& config);
  static CacheWidths cache_widths(const ModelConfig& config);
  static int64_t map_multiply_adds(const ModelConfig& config);

 private:
  int64_t heads_, kv_heads_, head_dim_;
  Linear qkv_, output_;
};

}  // namespace gta
