#include "layers/attention/attention.h"

#include <type_traits>

namespace gta {
namespace {

// f with the class that a type selects, as std::type_identity.
template <class F>
auto with_variant(AttentionType type, F&& f) {
  switch (type) {
    case AttentionType::Mha:
    case AttentionType::Mqa:
    case AttentionType::Gqa:
      return f(std::type_identity<GroupedQueryAttention>{});
    case AttentionType::Mla:
      return f(std::type_identity<MultiHeadLatentAttention>{});
    case AttentionType::Gva:
    case AttentionType::Gha:
      return f(std::type_identity<GroupedHeadAttention>{});
    case AttentionType::Gta:
      return f(std::type_identity<GroupedHeadLatentAttention>{});
  }
  internal_error("attention", "type {} is none", static_cast<int>(type));
}

}  // namespace

Attention make_attention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config) {
  return with_variant(config.attention.type, [&](auto variant) -> Attention {
    return typename decltype(variant)::type(space, prefix, config);
  });
}

CacheWidths cache_widths(const ModelConfig& config) {
  return with_variant(config.attention.type,
                      [&](auto variant) { return decltype(variant)::type::cache_widths(config); });
}

int64_t map_multiply_adds(const ModelConfig& config) {
  return with_variant(config.attention.type,
                      [&](auto variant) { return decltype(variant)::type::map_multiply_adds(config); });
}

int64_t map_multiply_adds_decoding(const ModelConfig& config) {
  if (config.attention.type == AttentionType::Mla) return MultiHeadLatentAttention::map_multiply_adds_decoding(config);
  return map_multiply_adds(config);
}

}  // namespace gta
