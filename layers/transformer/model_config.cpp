#include "layers/transformer/model_config.h"

#include <fmt/format.h>

#include <initializer_list>
#include <utility>

namespace gta {

std::vector<ModelConfigProblem> problems_of(const ModelConfig& c) {
  std::vector<ModelConfigProblem> problems;
  const auto expect = [&](bool holds, std::string key, std::string message) {
    if (!holds) problems.push_back({std::move(key), std::move(message)});
    return holds;
  };
  const auto positive = [&](const char* key, int64_t value) {
    return expect(value > 0, key, fmt::format("is {}: expected a positive number", value));
  };
  bool sizes = positive("hidden_size", c.hidden_size);
  sizes &= positive("layers", c.layers);
  sizes &= positive("intermediate_size", c.intermediate_size);
  sizes &= positive("heads", c.heads);
  const AttentionConfig& a = c.attention;
  if (a.type != AttentionType::Mla) sizes &= positive("head_dim", c.head_dim);
  if (!sizes) return problems;
  if (a.type != AttentionType::Mla)
    expect(c.head_dim % 2 == 0, "head_dim", fmt::format("is {}: RoPE rotates pairs, expected an even number", c.head_dim));

  // Counts that the type needs; false when one is missing.
  const auto needs = [&](std::initializer_list<std::pair<const char*, int64_t>> counts) {
    bool given = true;
    for (const auto& [key, value] : counts)
      given &= expect(value > 0, std::string("attention.") + key, fmt::format("is missing: type {} needs it", name_of(a.type)));
    return given;
  };
  const auto divides = [&](const char* key, int64_t divisor, const char* of, int64_t value) {
    return expect(value % divisor == 0, std::string("attention.") + key, fmt::format("{} does not divide {} {}", divisor, of, value));
  };

  switch (a.type) {
    case AttentionType::Mha:
    case AttentionType::Mqa:
      break;
    case AttentionType::Gqa:
      if (needs({{"kv_heads", a.kv_heads}})) divides("kv_heads", a.kv_heads, "heads", c.heads);
      break;
    case AttentionType::Mla:
      if (needs({{"kv_lora_rank", a.kv_lora_rank}, {"nope_dim", a.nope_dim}, {"rope_dim", a.rope_dim}, {"value_dim", a.value_dim}}))
        expect(a.rope_dim % 2 == 0, "attention.rope_dim", fmt::format("is {}: RoPE rotates pairs, expected an even number", a.rope_dim));
      break;
    case AttentionType::Gva:
      if (!needs({{"query_heads", a.query_heads}, {"key_heads", a.key_heads}})) break;
      divides("key_heads", a.key_heads, "query_heads", a.query_heads);
      divides("query_heads", a.query_heads, "heads", c.heads);
      break;
    case AttentionType::Gha: {
      if (!needs({{"query_heads", a.query_heads}, {"key_heads", a.key_heads}, {"value_heads", a.value_heads}})) break;
      divides("key_heads", a.key_heads, "query_heads", a.query_heads);
      if (!divides("query_heads", a.query_heads, "heads", c.heads)) break;
      const int64_t sharing = c.heads / a.query_heads;
      if (expect(a.value_heads % sharing == 0, "attention.value_heads",
                 fmt::format("{} is no multiple of {}, the heads that share a map (heads {} / query_heads {})", a.value_heads, sharing,
                             c.heads, a.query_heads)))
        expect(a.query_heads % (a.value_heads / sharing) == 0, "attention.value_heads",
               fmt::format("{} make {} groups of {} values, which do not divide query_heads {}", a.value_heads, a.value_heads / sharing,
                           sharing, a.query_heads));
      break;
    }
    case AttentionType::Gta:
      if (!needs(
              {{"query_heads", a.query_heads}, {"key_heads", a.key_heads}, {"latent_heads", a.latent_heads}, {"latent_dim", a.latent_dim}}))
        break;
      divides("key_heads", a.key_heads, "query_heads", a.query_heads);
      divides("latent_heads", a.latent_heads, "query_heads", a.query_heads);
      if (divides("query_heads", a.query_heads, "heads", c.heads)) {
        const int64_t width = c.heads / a.query_heads * c.head_dim;
        expect(width % a.latent_dim == 0, "attention.latent_dim",
               fmt::format("{} does not divide a group's width {} (heads {} / query_heads {} * head_dim {})", a.latent_dim, width, c.heads,
                           a.query_heads, c.head_dim));
      }
      break;
  }
  return problems;
}

}  // namespace gta
