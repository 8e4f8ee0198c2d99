#include "checkpoints/exports/hf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "checkpoints/exports/rope_rows.h"
#include "layers/attention/grouped_head.h"
#include "layers/attention/grouped_query.h"
#include "layers/transformer/causal_lm.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

std::vector<int64_t> rows_of_mla(const ModelConfig& config, const std::string& name) {
  if (name.ends_with("self_attn.q_proj.weight")) return mla_query_rows(config);
  if (name.ends_with("self_attn.kv_a_proj_with_mqa.weight")) return mla_latent_rows(config);
  return {};
}

// The core of our own class: value heads and their width.
std::pair<int64_t, int64_t> core_values(const ModelConfig& config) {
  const AttentionConfig& a = config.attention;
  if (a.type == AttentionType::Gta) return {a.latent_heads, a.latent_dim};
  const int64_t width = config.heads / a.query_heads * config.head_dim;
  return {GroupedHeadAttention::value_heads(config) * config.head_dim / width, width};
}

void add_gta(Json& json, const ModelConfig& config) {
  const AttentionConfig& a = config.attention;
  const auto [value_heads, value_dim] = core_values(config);
  json["auto_map"] = {{"AutoConfig", "configuration_gta.GtaConfig"},
                      {"AutoModel", "modeling_gta.GtaModel"},
                      {"AutoModelForCausalLM", "modeling_gta.GtaForCausalLM"}};
  // Of the attention core: engines that know of no other heads plan their caches with these three.
  json["num_attention_heads"] = a.query_heads;
  json["num_key_value_heads"] = std::lcm(a.key_heads, value_heads);
  json["head_dim"] = std::max(config.head_dim, value_dim);
  json["attention_type"] = name_of(a.type);
  json["output_width"] = config.heads * config.head_dim;
  json["key_heads"] = a.key_heads;
  json["key_dim"] = config.head_dim;
  json["value_heads"] = value_heads;
  json["value_dim"] = value_dim;
  json["qkv_bias"] = a.qkv_bias;
  const bool decodes = a.type == AttentionType::Gta;
  json["value_decoder"] = decodes ? Json(name_of(a.value_decoder)) : Json();
  json["gate"] = decodes ? Json(name_of(a.gate)) : Json();
}

void add_mla(Json& json, const ModelConfig& config) {
  const AttentionConfig& a = config.attention;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.heads;
  json["kv_lora_rank"] = a.kv_lora_rank;
  json["q_lora_rank"] = Json();
  json["qk_nope_head_dim"] = a.nope_dim;
  json["qk_rope_head_dim"] = a.rope_dim;
  json["v_head_dim"] = a.value_dim;
  json["head_dim"] = a.rope_dim;
  json["attention_bias"] = false;
  // Every block has a plain MLP; the class wants whole numbers for what then does not come to pass.
  json["first_k_dense_replace"] = config.layers;
  json["n_routed_experts"] = 1;
  json["n_shared_experts"] = 1;
  json["num_experts_per_tok"] = 1;
  json["n_group"] = 1;
  json["topk_group"] = 1;
  json["moe_intermediate_size"] = config.intermediate_size;
}

void add_tokens(Json& json, const HfTokens& tokens) {
  for (const auto& [name, id] : {std::pair{"bos_token_id", tokens.bos}, std::pair{"eos_token_id", tokens.eos},
                                 std::pair{"pad_token_id", tokens.padding}})
    json[name] = id < 0 ? Json() : Json(id);
}

template <class Place>
std::vector<float> moved(const HfTensor& tensor, const std::vector<float>& values, Place&& place) {
  if (tensor.rows.empty()) return values;
  std::vector<float> result(values.size());
  const size_t columns = values.size() / tensor.rows.size();
  for (size_t row = 0; row < tensor.rows.size(); ++row) {
    const auto [from, to] = place(row, static_cast<size_t>(tensor.rows[row]));
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from * columns), columns,
                result.begin() + static_cast<std::ptrdiff_t>(to * columns));
  }
  return result;
}

}  // namespace

HfClass hf_class_of(const ModelConfig& config) {
  switch (config.attention.type) {
    case AttentionType::Mha:
    case AttentionType::Mqa:
    case AttentionType::Gqa:
      return HfClass::Llama;
    case AttentionType::Mla:
      return HfClass::DeepseekV2;
    default:
      return HfClass::Gta;
  }
}

const char* name_of(HfClass type) {
  switch (type) {
    case HfClass::Llama:
      return "LlamaForCausalLM";
    case HfClass::DeepseekV2:
      return "DeepseekV2ForCausalLM";
    case HfClass::Gta:
      return "GtaForCausalLM";
    case HfClass::Qwen2:
      return "Qwen2ForCausalLM";
    case HfClass::PublishedGta:
      return "GTAForCausalLM";
  }
  return "";
}

std::vector<HfTensor> hf_tensors(const ModelConfig& config, HfClass type) {
  ParameterSpace space;
  const CausalLm model(space, config);
  const bool has_zero_biases = type == HfClass::Llama && config.attention.qkv_bias;
  std::vector<HfTensor> tensors;
  for (const Parameter& parameter : space.parameters()) {
    HfTensor tensor{parameter.name, {parameter.shape.begin(), parameter.shape.end()}, parameter.name, {}};
    // Every tensor of theirs is (out, in) but this one, which published GTA code has as (e d_l, nq d_l).
    if (parameter.name.ends_with(".v_b_proj.weight")) tensor.shape = {parameter.shape[1], parameter.shape[0]};
    if (config.attention.type == AttentionType::Mla) tensor.rows = rows_of_mla(config, parameter.name);
    tensors.push_back(std::move(tensor));
    if (has_zero_biases && parameter.name.ends_with("o_proj.weight"))
      tensors.push_back({parameter.name.substr(0, parameter.name.size() - 6) + "bias", {config.hidden_size}, "", {}});
  }
  return tensors;
}

std::string hf_config_json(const ModelConfig& config, NumberFormat format, const HfTokens& tokens) {
  const HfClass type = hf_class_of(config);
  constexpr const char* kTypes[] = {"llama", "deepseek_v2", "gta"};
  Json json = {{"architectures", {name_of(type)}},
               {"model_type", kTypes[static_cast<size_t>(type)]},
               {"vocab_size", config.vocab_size},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.layers}};
  if (type == HfClass::Gta) {
    add_gta(json, config);
  } else if (type == HfClass::DeepseekV2) {
    add_mla(json, config);
  } else {
    json["num_attention_heads"] = config.heads;
    json["num_key_value_heads"] = GroupedQueryAttention::kv_heads(config);
    json["head_dim"] = config.head_dim;
    json["attention_bias"] = config.attention.qkv_bias;
  }
  json["hidden_act"] = "silu";
  json["mlp_bias"] = false;
  json["attention_dropout"] = 0.0;
  json["max_position_embeddings"] = config.max_sequence_length;
  json["initializer_range"] = config.initializer_range;
  json["rms_norm_eps"] = config.norm_eps;
  // Each of the two is read by another version of transformers, and without its own one takes 10000; dtype the same.
  json["rope_theta"] = config.rope_theta;
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", config.rope_theta}};
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["use_cache"] = true;
  json["torch_dtype"] = name_of(format);
  json["dtype"] = name_of(format);
  add_tokens(json, tokens);
  return json.dump(2) + "\n";
}

std::string hf_generation_config_json(const HfTokens& tokens) {
  Json json = {{"do_sample", false}};
  add_tokens(json, tokens);
  return json.dump(2) + "\n";
}

std::vector<std::string> hf_notes(const ModelConfig& config) {
  constexpr double kDeepseekEps = 1e-6;
  if (hf_class_of(config) != HfClass::DeepseekV2 || config.norm_eps == kDeepseekEps) return {};
  return {fmt::format(
      "DeepseekV2 norms the latent with an eps of 1e-6 whatever config.json says, this model with {}: logits differ a "
      "little",
      config.norm_eps)};
}

std::vector<float> to_hf(const HfTensor& tensor, const std::vector<float>& values) {
  return moved(tensor, values, [](size_t theirs, size_t ours) { return std::pair(ours, theirs); });
}

std::vector<float> from_hf(const HfTensor& tensor, const std::vector<float>& values) {
  return moved(tensor, values, [](size_t theirs, size_t ours) { return std::pair(theirs, ours); });
}

}  // namespace gta
