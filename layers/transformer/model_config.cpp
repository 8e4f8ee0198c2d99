#include "layers/transformer/model_config.h"

#include <fmt/format.h>

#include <initializer_list>
#include <utility>

namespace gta {

std::vector<ModelConfigProblem> problems_of(const ModelConfig& c) {
  std::vector<ModelConfigProblem> problems;
  const auto expect = [&](bool holds, std::string key, std::string message) {
    if (!holds) problems.push_back({std::move(key), std::move(message)});
  };
  const auto positive = [&](const char* key, int64_t value) {
    expect(value > 0, key, fmt::format("is {}: expected a positive number", value));
  };
  const AttentionConfig& a = c.attention;
  positive("hidden_size", c.hidden_size);
  positive("layers", c.layers);
  positive("intermediate_size", c.intermediate_size);
  positive("heads", c.heads);
  if (a.type != AttentionType::Mla) {
    positive("head_dim", c.head_dim);
    expect(c.head_dim % 2 == 0, "head_dim",
           fmt::format("is {}: RoPE rotates pairs, expected an even number", c.head_dim));
  }

  // A key that is not there (0) is one problem; what it would have to divide, or be divided by, is not another.
  const auto needs = [&](std::initializer_list<std::pair<const char*, int64_t>> counts) {
    for (const auto& [key, value] : counts)
      expect(value > 0, std::string("attention.") + key, fmt::format("is missing: type {} needs it", name_of(a.type)));
  };
  const auto divides = [&](const char* key, int64_t divisor, const char* of, int64_t value) {
    expect(divisor <= 0 || value % divisor == 0, std::string("attention.") + key,
           fmt::format("{} does not divide {} {}", divisor, of, value));
  };
  const bool whole_groups = a.query_heads > 0 && c.heads % a.query_heads == 0;
  const int64_t sharing = whole_groups ? c.heads / a.query_heads : 0;  // heads that share a map

  switch (a.type) {
    case AttentionType::Mha:
    case AttentionType::Mqa:
      break;
    case AttentionType::Gqa:
      needs({{"kv_heads", a.kv_heads}});
      divides("kv_heads", a.kv_heads, "heads", c.heads);
      break;
    case AttentionType::Mla:
      needs({{"kv_lora_rank", a.kv_lora_rank},
             {"nope_dim", a.nope_dim},
             {"rope_dim", a.rope_dim},
             {"value_dim", a.value_dim}});
      expect(a.rope_dim % 2 == 0, "attention.rope_dim",
             fmt::format("is {}: RoPE rotates pairs, expected an even number", a.rope_dim));
      break;
    case AttentionType::Gva:
      needs({{"query_heads", a.query_heads}, {"key_heads", a.key_heads}});
      divides("key_heads", a.key_heads, "query_heads", a.query_heads);
      divides("query_heads", a.query_heads, "heads", c.heads);
      break;
    case AttentionType::Gha:
      needs({{"query_heads", a.query_heads}, {"key_heads", a.key_heads}, {"value_heads", a.value_heads}});
      divides("key_heads", a.key_heads, "query_heads", a.query_heads);
      divides("query_heads", a.query_heads, "heads", c.heads);
      if (!whole_groups || a.value_heads <= 0) break;
      if (a.value_heads % sharing != 0)
        expect(false, "attention.value_heads",
               fmt::format("{} is no multiple of {}, the heads that share a map (heads {} / query_heads {})",
                           a.value_heads, sharing, c.heads, a.query_heads));
      else
        expect(a.query_heads % (a.value_heads / sharing) == 0, "attention.value_heads",
               fmt::format("{} make {} groups of {} values, which do not divide query_heads {}", a.value_heads,
                           a.value_heads / sharing, sharing, a.query_heads));
      break;
    case AttentionType::Gta:
      needs({{"query_heads", a.query_heads},
             {"key_heads", a.key_heads},
             {"latent_heads", a.latent_heads},
             {"latent_dim", a.latent_dim}});
      divides("key_heads", a.key_heads, "query_heads", a.query_heads);
      divides("latent_heads", a.latent_heads, "query_heads", a.query_heads);
      divides("query_heads", a.query_heads, "heads", c.heads);
      if (whole_groups)
        expect(a.latent_dim <= 0 || sharing * c.head_dim % a.latent_dim == 0, "attention.latent_dim",
               fmt::format("{} does not divide a group's width {} (heads {} / query_heads {} * head_dim {})",
                           a.latent_dim, sharing * c.head_dim, c.heads, a.query_heads, c.head_dim));
      break;
  }
  return problems;
}

}  // namespace gta
