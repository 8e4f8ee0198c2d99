#include "checkpoints/exports/hf_foreign_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace gta {
namespace {

// What other models of these families have. A key counts where it is not null and not what it says here.
enum class Neutral : uint8_t { Null, False, Zero, One };
struct Foreign {
  const char* key;
  Neutral neutral;
};
constexpr Foreign kForeign[] = {
    {"quantization_config", Neutral::Null},
    {"compression_config", Neutral::Null},
    {"text_config", Neutral::Null},
    {"is_encoder_decoder", Neutral::False},
    {"add_cross_attention", Neutral::False},
    // activations and biases
    {"mlp_bias", Neutral::False},
    {"use_bias", Neutral::False},
    {"bias", Neutral::False},
    {"add_bias_linear", Neutral::False},
    {"o_proj_bias", Neutral::False},
    {"attention_out_bias", Neutral::False},
    {"lm_head_bias", Neutral::False},
    // positions
    {"partial_rotary_factor", Neutral::One},
    {"rotary_pct", Neutral::One},
    {"rope_ratio", Neutral::One},
    {"rotary_dim", Neutral::Null},
    {"rope_interleaved", Neutral::False},
    {"rope_local_base_freq", Neutral::Null},
    {"alibi", Neutral::False},
    {"no_rope_layers", Neutral::Null},
    {"no_rope_layer_interval", Neutral::Null},
    // which tokens are seen, and what their scores become
    {"use_sliding_window", Neutral::False},
    {"attention_chunk_size", Neutral::Null},
    {"attention_multiplier", Neutral::Null},
    {"query_pre_attn_scalar", Neutral::Null},
    {"attn_logit_softcapping", Neutral::Null},
    {"attn_temperature_tuning", Neutral::False},
    {"clip_qkv", Neutral::Null},
    {"qk_norm", Neutral::False},
    {"use_qk_norm", Neutral::False},
    {"qk_layernorm", Neutral::False},
    // what the residual stream and the logits are multiplied with
    {"embedding_multiplier", Neutral::One},
    {"residual_multiplier", Neutral::One},
    {"logits_scaling", Neutral::One},
    {"logit_scale", Neutral::One},
    {"lm_head_multiplier", Neutral::One},
    {"scale_emb", Neutral::One},
    {"scale_depth", Neutral::Null},
    {"dim_model_base", Neutral::Null},
    {"final_logit_softcapping", Neutral::Null},
    {"parallel_attn", Neutral::False},
    {"use_parallel_residual", Neutral::False},
    // experts, and heads for tokens after the next
    {"num_experts", Neutral::Zero},
    {"num_local_experts", Neutral::Zero},
    {"num_nextn_predict_layers", Neutral::Zero},
};

// Read by hf_config_reader.cpp, or of no effect on what a model computes.
constexpr std::string_view kKnown =
    " _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures attention_bias "
    "attention_dropout attention_type auto_map aux_loss_alpha bos_token_id dtype eos_token_id ep_size "
    "first_k_dense_replace gate head_dim hidden_act hidden_size initializer_range intermediate_size key_dim "
    "key_heads kv_lora_rank layer_types max_position_embeddings max_window_layers model_type "
    "moe_intermediate_size moe_layer_freq n_group n_routed_experts n_shared_experts norm_topk_prob "
    "num_attention_heads num_experts_per_tok num_hidden_layers num_key_heads num_key_value_heads "
    "num_query_heads num_value_heads output_router_logits output_width pad_token_id pretraining_tp q_lora_rank "
    "qk_head_dim qk_nope_head_dim qk_rope_head_dim qkv_bias query_dim rms_norm_eps rope_parameters "
    "rope_scaling rope_theta routed_scaling_factor scoring_func seq_aux sliding_window tie_word_embeddings "
    "topk_group topk_method torch_dtype transformers_version use_cache v_head_dim value_decoder value_dim "
    "value_heads vocab_size ";

bool is_known(const std::string& key) {
  return std::any_of(std::begin(kForeign), std::end(kForeign), [&](const Foreign& f) { return key == f.key; }) ||
         (key.find(' ') == std::string::npos && kKnown.find(" " + key + " ") != std::string_view::npos);
}

}  // namespace

void refuse_foreign_keys(const JsonObject& json, HfClass type) {
  constexpr std::array kSaid = {"null", "false", "0", "1"};
  for (const auto& [key, neutral] : kForeign) {
    const bool counts = json.has(key) && !(neutral == Neutral::False && json.is(key, false)) &&
                        !(neutral == Neutral::Zero && json.is(key, 0.0)) &&
                        !(neutral == Neutral::One && json.is(key, 1.0));
    if (counts)
      json.refuse(key, fmt::format("{}: models here have no such thing", kSaid[static_cast<size_t>(neutral)]));
  }
  if (json.has("hidden_act") && json.text("hidden_act") != "silu") json.refuse("hidden_act", "\"silu\"");
  // Qwen2 has a width there which counts where use_sliding_window says so alone.
  if (type != HfClass::Qwen2 && json.has("sliding_window"))
    json.refuse("sliding_window", "null: every token sees all before it here");
  if (json.has("layer_types"))
    for (const std::string& layer : json.texts("layer_types"))
      if (layer != "full_attention") json.refuse("layer_types", "\"full_attention\" for every layer");
  if (type != HfClass::DeepseekV2 && json.has("n_routed_experts") && !json.is("n_routed_experts", 0.0))
    json.refuse("n_routed_experts", "0: models here have no experts");
}

std::string passed_over(const JsonObject& json) {
  constexpr size_t kMostNamed = 8, kLongestName = 40;
  std::vector<std::string> others;
  for (const std::string& key : json.keys())
    if (!is_known(key) && json.has(key)) others.push_back(key);
  const auto plain = [](const std::string& key) {
    return key.size() <= kLongestName &&
           std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
  };
  std::string named;
  for (size_t i = 0; i < std::min(others.size(), kMostNamed); ++i)
    named += (i ? ", " : "") + (plain(others[i]) ? others[i] : std::string("one with an odd name"));
  if (others.size() > kMostNamed) named += fmt::format(" and {} more", others.size() - kMostNamed);
  return named;
}

}  // namespace gta
