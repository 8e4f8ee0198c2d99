#include "bench/model_shapes.h"

#include <cmath>

#include "layers/attention/grouped_query.h"

namespace gta {

AttentionShape core_shape(const ModelConfig& config, int64_t batch) {
  const AttentionConfig& a = config.attention;
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  switch (a.type) {
    case AttentionType::Mha:
    case AttentionType::Mqa:
    case AttentionType::Gqa: {
      const int64_t kv = GroupedQueryAttention::kv_heads(config);
      return {batch, config.heads, kv, kv, config.head_dim, config.head_dim, scale};
    }
    case AttentionType::Gva:
    case AttentionType::Gha: {
      const int64_t group = config.heads / a.query_heads,
                    values = a.type == AttentionType::Gva ? config.heads : a.value_heads;
      return {batch, a.query_heads, a.key_heads, values / group, config.head_dim, group * config.head_dim, scale};
    }
    case AttentionType::Mla: {
      const int64_t key_dim = a.nope_dim + a.rope_dim;
      return {batch,
              config.heads,
              config.heads,
              config.heads,
              key_dim,
              a.value_dim,
              1.0 / std::sqrt(static_cast<double>(key_dim))};
    }
    case AttentionType::Gta:
      return {batch, a.query_heads, a.key_heads, a.latent_heads, config.head_dim, a.latent_dim, scale};
  }
  internal_error("bench", "has no shapes of attention type {}", static_cast<int>(a.type));
}

std::vector<LinearShape> linear_shapes(const ModelConfig& config) {
  const AttentionShape core = core_shape(config, 1);
  const AttentionConfig& a = config.attention;
  const LinearShape gate_up{"gate+up", 2 * config.intermediate_size, config.hidden_size, false},
      down{"down", config.hidden_size, config.intermediate_size, false};
  if (a.type == AttentionType::Mla)
    return {{"q+latent+k_rope", config.heads * core.head_dim + a.kv_lora_rank + a.rope_dim, config.hidden_size, false},
            {"k_nope+v", config.heads * (a.nope_dim + a.value_dim), a.kv_lora_rank, false},
            {"o", config.hidden_size, config.heads * a.value_dim, false},
            gate_up,
            down};
  const int64_t width = config.heads * config.head_dim, gate = has_value_decoder(config) ? width : 0;
  const int64_t merged = (core.query_heads + core.key_heads) * core.head_dim + core.value_heads * core.value_dim + gate;
  return {{gate ? "q+k+c+z" : "q+k+v", merged, config.hidden_size, a.qkv_bias},
          {"o", config.hidden_size, width, false},
          gate_up,
          down};
}

}  // namespace gta
