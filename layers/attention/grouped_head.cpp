#include "layers/attention/grouped_head.h"

#include <cmath>

namespace gta {

int64_t GroupedHeadAttention::value_heads(const ModelConfig& config) {
  return config.attention.type == AttentionType::Gva ? config.heads : config.attention.value_heads;
}

CacheWidths GroupedHeadAttention::cache_widths(const ModelConfig& config) {
  return {config.attention.key_heads * config.head_dim, value_heads(config) * config.head_dim};
}

int64_t GroupedHeadAttention::map_multiply_adds(const ModelConfig& config) {
  return (config.attention.query_heads + config.heads) * config.head_dim;
}

GroupedHeadAttention::GroupedHeadAttention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config)
    : query_heads_(config.attention.query_heads),
      key_heads_(config.attention.key_heads),
      value_heads_(value_heads(config)),
      head_dim_(config.head_dim),
      width_(config.heads * config.head_dim),
      qkv_(space, prefix,
           {{"q_proj", query_heads_ * head_dim_},
            {"k_proj", key_heads_ * head_dim_},
            {"v_proj", value_heads_ * head_dim_}},
           config.hidden_size, config.attention.qkv_bias ? Bias::Present : Bias::None, config.initializer_range),
      output_(space, prefix, {{"o_proj", config.hidden_size}}, width_, Bias::None, config.initializer_range) {}

Tensor GroupedHeadAttention::forward(Tape& tape, const Tensor& x, const AttentionContext& context) const {
  const int64_t q_width = query_heads_ * head_dim_, k_width = key_heads_ * head_dim_,
                v_width = value_heads_ * head_dim_;
  const Tensor qkv = qkv_.forward(tape, x);
  const Tensor qk = tape.apply(RopeOp{{query_heads_ + key_heads_, head_dim_}, context.positions()},
                               qkv.column_slice(0, q_width + k_width));
  const auto [k, v] =
      extend_cache(context, qk.column_slice(q_width, k_width), qkv.column_slice(q_width + k_width, v_width));
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));
  const int64_t group_width = width_ / query_heads_;  // m heads
  const Tensor u = attend(
      tape, context, {context.batch, query_heads_, key_heads_, v_width / group_width, head_dim_, group_width, scale},
      qk.column_slice(0, q_width), k, v);
  return output_.forward(tape, u);
}

}  // namespace gta
