#include "layers/transformer/model_config.h"

#include <fmt/format.h>

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
  sizes &= positive("head_dim", c.head_dim);
  if (!sizes) return problems;
  expect(c.head_dim % 2 == 0, "head_dim", fmt::format("is {}: RoPE rotates pairs, expected an even number", c.head_dim));

  const AttentionConfig& a = c.attention;
  if (a.type == AttentionType::Gqa) {
    if (expect(a.kv_heads > 0, "attention.kv_heads", "is missing: type gqa needs it"))
      expect(c.heads % a.kv_heads == 0, "attention.kv_heads", fmt::format("{} does not divide heads {}", a.kv_heads, c.heads));
  }
  if (a.type == AttentionType::Gta) {
    bool given = true;
    for (const auto& [key, value] : {std::pair{"query_heads", a.query_heads}, {"key_heads", a.key_heads}, {"latent_heads", a.latent_heads}, {"latent_dim", a.latent_dim}})
      given &= expect(value > 0, std::string("attention.") + key, "is missing: type gta needs it");
    if (!given) return problems;
    const auto divides = [&](const char* key, int64_t divisor, const char* of, int64_t value) {
      return expect(value % divisor == 0, std::string("attention.") + key, fmt::format("{} does not divide {} {}", divisor, of, value));
    };
    divides("key_heads", a.key_heads, "query_heads", a.query_heads);
    divides("latent_heads", a.latent_heads, "query_heads", a.query_heads);
    if (divides("query_heads", a.query_heads, "heads", c.heads)) {
      const int64_t width = c.heads / a.query_heads * c.head_dim;
      expect(width % a.latent_dim == 0, "attention.latent_dim",
             fmt::format("{} does not divide a group's width {} (heads {} / query_heads {} * head_dim {})", a.latent_dim, width, c.heads,
                         a.query_heads, c.head_dim));
    }
  }
  return problems;
}

}  // namespace gta
