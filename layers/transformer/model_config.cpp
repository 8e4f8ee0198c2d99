#include "layers/transformer/model_config.h"

#include <fmt/format.h>

namespace gta {

std::vector<ModelConfigProblem> problems_of(const ModelConfig& c) {
  std::vector<ModelConfigProblem> problems;
  const auto expect = [&](bool holds, std::string key, std::string message) {
    if (!holds) problems.push_back({std::move(key), std::move(message)});
  };
  const auto positive = [&](const char* key, int64_t value) { expect(value > 0, key, fmt::format("is {}: expected a positive number", value)); };
  positive("hidden_size", c.hidden_size);
  positive("layers", c.layers);
  positive("intermediate_size", c.intermediate_size);
  positive("heads", c.heads);
  positive("head_dim", c.head_dim);
  expect(c.head_dim % 2 == 0, "head_dim", fmt::format("is {}: RoPE rotates pairs, expected an even number", c.head_dim));

  // A key that is not there (0) is one problem; what it would have to divide, or be divided by, is not another.
  const AttentionConfig& a = c.attention;
  const auto divides = [&](const char* key, int64_t divisor, const char* of, int64_t value) {
    expect(divisor <= 0 || value % divisor == 0, std::string("attention.") + key, fmt::format("{} does not divide {} {}", divisor, of, value));
  };
  if (a.type == AttentionType::Gqa) {
    expect(a.kv_heads > 0, "attention.kv_heads", "is missing: type gqa needs it");
    divides("kv_heads", a.kv_heads, "heads", c.heads);
  }
  if (a.type == AttentionType::Gta) {
    for (const auto& [key, value] : {std::pair{"query_heads", a.query_heads}, {"key_heads", a.key_heads}, {"latent_heads", a.latent_heads}, {"latent_dim", a.latent_dim}})
      expect(value > 0, std::string("attention.") + key, "is missing: type gta needs it");
    divides("key_heads", a.key_heads, "query_heads", a.query_heads);
    divides("latent_heads", a.latent_heads, "query_heads", a.query_heads);
    divides("query_heads", a.query_heads, "heads", c.heads);
    if (a.query_heads > 0 && c.heads % a.query_heads == 0) {
      const int64_t width = c.heads / a.query_heads * c.head_dim;
      expect(a.latent_dim <= 0 || width % a.latent_dim == 0, "attention.latent_dim",
             fmt::format("{} does not divide a group's width {} (heads {} / query_heads {} * head_dim {})", a.latent_dim, width, c.heads,
                         a.query_heads, c.head_dim));
    }
  }
  return problems;
}

}  // namespace gta
