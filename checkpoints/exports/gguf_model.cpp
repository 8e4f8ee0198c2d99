#include "checkpoints/exports/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "checkpoints/exports/gguf_gated_attention.h"
#include "checkpoints/exports/gguf_sources.h"
#include "checkpoints/exports/rope_rows.h"
#include "core/error.h"
#include "layers/attention/grouped_head.h"
#include "layers/attention/grouped_query.h"

namespace gta {
namespace {

// Of deepseek2 without a low rank for queries: llama.cpp tells the model by its number of blocks.
constexpr int64_t kLiteBlocks[] = {26, 27};

// Heads as an engine with one map for each has them: which of our heads each of its heads is a copy of.
struct HeadCopies {
  GgufRows q, k, v;  // our heads, in the engine's order
};

HeadCopies head_copies(const ModelConfig& config) {
  const AttentionConfig& a = config.attention;
  HeadCopies copies;
  if (a.type != AttentionType::Gva && a.type != AttentionType::Gha) {
    add_plain(copies.q, 0, config.heads);
    add_plain(copies.k, 0, GroupedQueryAttention::kv_heads(config));
    copies.v = copies.k;
    return copies;
  }
  // m heads share a map, and a value group has m heads.
  const int64_t maps = a.query_heads, m = config.heads / maps;
  const int64_t value_groups = GroupedHeadAttention::value_heads(config) / m;
  for (int64_t head = 0; head < config.heads; ++head) {
    const int64_t map = head / m;
    copies.q.push_back(map);
    copies.k.push_back(map / (maps / a.key_heads));
    copies.v.push_back(map / (maps / value_groups) * m + head % m);
  }
  return copies;
}

enum class RopePairs : uint8_t { AsHere, Interleaved };

GgufRows rows_of_heads(const GgufRows& heads, int64_t dim, RopePairs pairs) {
  GgufRows rows;
  for (int64_t head : heads)
    if (pairs == RopePairs::Interleaved)
      add_interleaved(rows, head * dim, dim);
    else
      add_plain(rows, head * dim, dim);
  return rows;
}

void add_grouped_attention(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix,
                           const std::string& parameters) {
  const HeadCopies copies = head_copies(config);
  const bool has_bias = config.attention.qkv_bias;
  const RopePairs pairs = has_bias ? RopePairs::AsHere : RopePairs::Interleaved;
  for (const auto& [name, heads, rotated] :
       {std::tuple{'q', copies.q, pairs}, {'k', copies.k, pairs}, {'v', copies.v, RopePairs::AsHere}}) {
    const GgufRows rows = rows_of_heads(heads, config.head_dim, rotated);
    const std::string to = fmt::format("{}attn_{}", prefix, name), from = fmt::format("{}{}_proj", parameters, name);
    tensors.push_back(picked_rows(to + ".weight", from + ".weight", rows, config.hidden_size));
    if (has_bias) tensors.push_back(picked_entries(to + ".bias", from + ".bias", rows));
  }
  tensors.push_back(same_values(prefix + "attn_output.weight", {config.hidden_size, config.heads * config.head_dim},
                                parameters + "o_proj.weight"));
}

// Of W_UKV (heads, nope + value, rank): W_UK as (heads, rank, nope), W_UV as (heads, value, rank).
void add_latent_heads(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix,
                      const std::string& parameter) {
  const int64_t heads = config.heads, nope = config.attention.nope_dim, value = config.attention.value_dim,
                rank = config.attention.kv_lora_rank;
  tensors.push_back({prefix + "attn_k_b.weight", {heads, rank, nope}, kMatrix, [=](const Masters& masters) {
                       const std::vector<float> w = masters.values(parameter);
                       std::vector<float> result;
                       for (int64_t h = 0; h < heads; ++h)
                         for (int64_t r = 0; r < rank; ++r)
                           for (int64_t n = 0; n < nope; ++n)
                             result.push_back(w[static_cast<size_t>((h * (nope + value) + n) * rank + r)]);
                       return result;
                     }});
  tensors.push_back({prefix + "attn_v_b.weight", {heads, value, rank}, kMatrix, [=](const Masters& masters) {
                       GgufRows rows;
                       for (int64_t h = 0; h < heads; ++h) add_plain(rows, h * (nope + value) + nope, value);
                       return rows_of(masters.values(parameter), rows, rank);
                     }});
}

void add_multi_head_latent(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix,
                           const std::string& parameters) {
  const AttentionConfig& a = config.attention;
  tensors.push_back(
      picked_rows(prefix + "attn_q.weight", parameters + "q_proj.weight", mla_query_rows(config), config.hidden_size));
  tensors.push_back(picked_rows(prefix + "attn_kv_a_mqa.weight", parameters + "kv_a_proj_with_mqa.weight",
                                mla_latent_rows(config), config.hidden_size));
  tensors.push_back(
      same_values(prefix + "attn_kv_a_norm.weight", {a.kv_lora_rank}, parameters + "kv_a_layernorm.weight"));
  add_latent_heads(tensors, config, prefix, parameters + "kv_b_proj.weight");
  tensors.push_back(same_values(prefix + "attn_output.weight", {config.hidden_size, config.heads * a.value_dim},
                                parameters + "o_proj.weight"));
}

// A block of zeros: what it adds to the stream is nothing.
void add_idle_latent_block(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix) {
  const AttentionConfig& a = config.attention;
  const int64_t hidden = config.hidden_size, mlp = config.intermediate_size;
  for (GgufSource source :
       {constant("attn_norm.weight", {hidden}, 1, kVector), constant("ffn_norm.weight", {hidden}, 1, kVector),
        constant("attn_q.weight", {config.heads * (a.nope_dim + a.rope_dim), hidden}, 0),
        constant("attn_kv_a_mqa.weight", {a.kv_lora_rank + a.rope_dim, hidden}, 0),
        constant("attn_kv_a_norm.weight", {a.kv_lora_rank}, 1, kVector),
        constant("attn_k_b.weight", {config.heads, a.kv_lora_rank, a.nope_dim}, 0),
        constant("attn_v_b.weight", {config.heads, a.value_dim, a.kv_lora_rank}, 0),
        constant("attn_output.weight", {hidden, config.heads * a.value_dim}, 0),
        constant("ffn_gate.weight", {mlp, hidden}, 0), constant("ffn_up.weight", {mlp, hidden}, 0),
        constant("ffn_down.weight", {hidden, mlp}, 0)}) {
    source.name = prefix + source.name;
    tensors.push_back(std::move(source));
  }
}

void add_block(std::vector<GgufSource>& tensors, const ModelConfig& config, int64_t layer) {
  const std::string prefix = fmt::format("blk.{}.", layer), parameters = fmt::format("model.layers.{}.", layer);
  const GgufArchitecture architecture = gguf_architecture_of(config);
  const int64_t hidden = config.hidden_size, mlp = config.intermediate_size;
  tensors.push_back(same_values(prefix + "attn_norm.weight", {hidden}, parameters + "input_layernorm.weight"));
  if (architecture == GgufArchitecture::Qwen35)
    add_gated_attention(tensors, config, prefix, parameters + "self_attn.");
  else if (architecture == GgufArchitecture::Deepseek2)
    add_multi_head_latent(tensors, config, prefix, parameters + "self_attn.");
  else
    add_grouped_attention(tensors, config, prefix, parameters + "self_attn.");
  tensors.push_back(
      same_values(prefix + (architecture == GgufArchitecture::Qwen35 ? "post_attention_norm" : "ffn_norm") + ".weight",
                  {hidden}, parameters + "post_attention_layernorm.weight"));
  for (const char* name : {"gate", "up"})
    tensors.push_back(same_values(fmt::format("{}ffn_{}.weight", prefix, name), {mlp, hidden},
                                  fmt::format("{}mlp.{}_proj.weight", parameters, name)));
  tensors.push_back(same_values(prefix + "ffn_down.weight", {hidden, mlp}, parameters + "mlp.down_proj.weight"));
}

// With the idle ones.
int64_t blocks_of(const ModelConfig& config) {
  switch (gguf_architecture_of(config)) {
    case GgufArchitecture::Deepseek2:
      return std::max(config.layers, kLiteBlocks[0]);
    case GgufArchitecture::Qwen35:
      return config.layers + 1;
    default:
      return config.layers;
  }
}

[[noreturn]] void refuse(const std::string& what) {
  bad_input("--format", "gguf cannot carry this model: {}. `--format hf` can", what);
}

void check_gated(const ModelConfig& config) {
  if (config.attention.gate != GateType::Sigmoid)
    refuse(fmt::format("llama.cpp's gated attention has a sigmoid, model.attention.gate is {}",
                       name_of(config.attention.gate)));
  if (!gated_head_dim(config))
    refuse(fmt::format("its heads there need more than the {} columns of head_dim, and a group of heads has {}",
                       config.head_dim, config.heads / config.attention.query_heads * config.head_dim));
}

}  // namespace

GgufArchitecture gguf_architecture_of(const ModelConfig& config) {
  switch (config.attention.type) {
    case AttentionType::Mla:
      if (config.layers > kLiteBlocks[1])
        refuse(fmt::format("llama.cpp takes mla without a low rank for queries with {} layers at most, this has {}",
                           kLiteBlocks[1], config.layers));
      return GgufArchitecture::Deepseek2;
    case AttentionType::Gta:
      check_gated(config);
      return GgufArchitecture::Qwen35;
    default:
      return config.attention.qkv_bias ? GgufArchitecture::Qwen2 : GgufArchitecture::Llama;
  }
}

const char* name_of(GgufArchitecture architecture) {
  constexpr const char* kNames[] = {"llama", "qwen2", "deepseek2", "qwen35"};
  return kNames[static_cast<size_t>(architecture)];
}

std::vector<GgufSource> gguf_tensors(const ModelConfig& config) {
  const std::vector<int64_t> table = {config.vocab_size, config.hidden_size};
  std::vector<GgufSource> tensors = {same_values("token_embd.weight", table, "model.embed_tokens.weight"),
                                     same_values("output_norm.weight", {config.hidden_size}, "model.norm.weight")};
  if (!config.tie_embeddings) tensors.push_back(same_values("output.weight", table, "lm_head.weight"));
  for (int64_t layer = 0; layer < config.layers; ++layer) add_block(tensors, config, layer);
  for (int64_t layer = config.layers; layer < blocks_of(config); ++layer) {
    const std::string prefix = fmt::format("blk.{}.", layer);
    if (gguf_architecture_of(config) == GgufArchitecture::Qwen35)
      add_idle_recurrent_block(tensors, config, prefix);
    else
      add_idle_latent_block(tensors, config, prefix);
  }
  return tensors;
}

GgufKeys gguf_model_keys(const ModelConfig& config, const std::string& name) {
  const GgufArchitecture architecture = gguf_architecture_of(config);
  const AttentionConfig& a = config.attention;
  GgufKeys keys = {{"general.architecture", std::string(name_of(architecture))},
                   {"general.type", std::string("model")},
                   {"general.name", name}};
  const auto number = [&](const char* key, int64_t value) {
    keys.emplace_back(fmt::format("{}.{}", name_of(architecture), key), static_cast<uint32_t>(value));
  };
  const auto real = [&](const char* key, double value) {
    keys.emplace_back(fmt::format("{}.{}", name_of(architecture), key), static_cast<float>(value));
  };
  number("vocab_size", config.vocab_size);
  number("context_length", config.max_sequence_length);
  number("embedding_length", config.hidden_size);
  number("block_count", blocks_of(config));
  number("feed_forward_length", config.intermediate_size);
  real("rope.freq_base", config.rope_theta);
  real("attention.layer_norm_rms_epsilon", config.norm_eps);
  number("rope.dimension_count", config.rope_dim());
  if (architecture == GgufArchitecture::Deepseek2) {
    number("attention.head_count", config.heads);
    number("attention.head_count_kv", 1);  // absorbed: one key, which is the latent and k_rope
    number("attention.key_length", a.kv_lora_rank + a.rope_dim);
    number("attention.value_length", a.kv_lora_rank);
    number("attention.key_length_mla", a.nope_dim + a.rope_dim);
    number("attention.value_length_mla", a.value_dim);
    number("attention.kv_lora_rank", a.kv_lora_rank);
    number("leading_dense_block_count", blocks_of(config));
    number("expert_feed_forward_length", config.intermediate_size);
    number("expert_shared_count", 0);
    return keys;
  }
  const bool gated = architecture == GgufArchitecture::Qwen35;
  const int64_t head_dim = gated ? gated_head_dim(config).value() : config.head_dim;
  const int64_t heads = config.heads * config.head_dim / head_dim;
  number("attention.head_count", heads);
  number("attention.head_count_kv", gated ? heads : static_cast<int64_t>(head_copies(config).k.size()));
  number("attention.key_length", head_dim);
  number("attention.value_length", head_dim);
  if (gated) add_gated_keys(keys, config);
  return keys;
}

int64_t gguf_cache_numbers(const ModelConfig& config) {
  switch (gguf_architecture_of(config)) {
    case GgufArchitecture::Deepseek2:
      return config.attention.kv_lora_rank + config.attention.rope_dim;
    case GgufArchitecture::Qwen35:
      return 2 * config.heads * config.head_dim;
    default:
      return 2 * static_cast<int64_t>(head_copies(config).k.size()) * config.head_dim;
  }
}

}  // namespace gta
