#include "layers/attention/grouped_query.h"

#include <cmath>

namespace gta {

int64_t GroupedQueryAttention::kv_heads(const ModelConfig& config) {
  switch (config.attention.type) {
    case AttentionType::Mha:
      return config.heads;
    case AttentionType::Mqa:
      return 1;
    default:
      return config.attention.kv_heads;
  }
}

CacheWidths GroupedQueryAttention::cache_widths(const ModelConfig& config) {
  const int64_t width = kv_heads(config) * config.head_dim;
  return {width, width};
}

int64_t GroupedQueryAttention::map_multiply_adds(const ModelConfig& config) {
  return 2 * config.heads * config.head_dim;
}

GroupedQueryAttention::GroupedQueryAttention(ParameterSpace& space, const std::string& prefix,
                                             const ModelConfig& config)
    : heads_(config.heads),
      kv_heads_(kv_heads(config)),
      head_dim_(config.head_dim),
      qkv_(space, prefix,
           {{"q_proj", heads_ * head_dim_}, {"k_proj", kv_heads_ * head_dim_}, {"v_proj", kv_heads_ * head_dim_}},
           config.hidden_size, config.attention.qkv_bias ? Bias::Present : Bias::None, config.initializer_range),
      output_(space, prefix, {{"o_proj", config.hidden_size}}, heads_ * head_dim_, Bias::None,
              config.initializer_range) {}

Tensor GroupedQueryAttention::forward(Tape& tape, const Tensor& x, const AttentionContext& context) const {
  const int64_t q_width = heads_ * head_dim_, k_width = kv_heads_ * head_dim_;
  const Tensor qkv = qkv_.forward(tape, x);
  const Tensor qk =
      tape.apply(RopeOp{{heads_ + kv_heads_, head_dim_}, context.positions()}, qkv.column_slice(0, q_width + k_width));
  const auto [k, v] =
      extend_cache(context, qk.column_slice(q_width, k_width), qkv.column_slice(q_width + k_width, k_width));
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));
  const Tensor u = attend(tape, context, {context.batch, heads_, kv_heads_, kv_heads_, head_dim_, head_dim_, scale},
                          qk.column_slice(0, q_width), k, v);
  return output_.forward(tape, u);
}

}  // namespace gta
