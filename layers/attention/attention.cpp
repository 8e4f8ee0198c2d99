#include "layers/attention/attention.h"

namespace gta {

Attention make_attention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config) {
  if (config.attention.type == AttentionType::Gta) return GroupedHeadLatentAttention(space, prefix, config);
  return GroupedQueryAttention(space, prefix, config);
}

CacheWidths cache_widths(const ModelConfig& config) {
  return config.attention.type == AttentionType::Gta ? GroupedHeadLatentAttention::cache_widths(config) : GroupedQueryAttention::cache_widths(config);
}

int64_t map_multiply_adds(const ModelConfig& config) {
  return config.attention.type == AttentionType::Gta ? GroupedHeadLatentAttention::map_multiply_adds(config)
                                                     : GroupedQueryAttention::map_multiply_adds(config);
}

}  // namespace gta
