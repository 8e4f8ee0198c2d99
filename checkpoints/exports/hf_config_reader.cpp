#include "checkpoints/exports/hf_config_reader.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "checkpoints/exports/hf_foreign_keys.h"
#include "checkpoints/exports/json_object.h"
#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

constexpr int64_t kMostConfigBytes = 4 << 20;
constexpr int kDeepest = 16;

// What sizes may be: the ranges of the same keys in configurations (launch/config/schema.cpp).
constexpr int64_t kWidest = 1 << 20, kMostLayers = 10000, kMostMlp = 1 << 22, kMostHeads = 65536, kWidestHead = 65536,
                  kMostTokens = 1 << 24;
// heads * head_dim: GTA's value decoder has the product of two widths of at most this.
constexpr int64_t kWidestHeads = 1 << 24;

// Of the published GTA code's configuration, which says "llama" as Llama's own does. Its gta/config.json has them
// beside num_attention_heads and head_dim (H = their product), and neither num_key_value_heads nor rope_theta:
//
//   num_query_heads  attention maps         query_dim, key_dim  d_h
//   num_key_heads                           value_dim           d_l
//   num_value_heads  latents
//
// https://github.com/plm-team/GTA (gta/config.json, gta_modeling): biases on q, k, v and g whatever attention_bias
// says, a sigmoid as gate, a learned value decoder.
constexpr const char* kPublishedKeys[] = {"num_query_heads", "query_dim",       "num_key_heads",
                                          "key_dim",         "num_value_heads", "value_dim"};

struct Family {
  const char* model_type;
  HfClass type;
  int64_t longest;       // max_position_embeddings where it is not there
  bool ties_embeddings;  // the same
};
constexpr Family kFamilies[] = {{"llama", HfClass::Llama, 2048, false},
                                {"qwen2", HfClass::Qwen2, 32768, false},
                                {"deepseek_v2", HfClass::DeepseekV2, 2048, false},
                                {"gta", HfClass::Gta, 2048, true}};
constexpr Family kPublishedGta = {"llama", HfClass::PublishedGta, 2048, false};

Family family_of(const JsonObject& json) {
  std::optional<std::string> architecture;
  if (json.has("architectures")) {
    const std::vector<std::string> all = json.texts("architectures");
    if (all.size() != 1) json.refuse("architectures", "one class");
    architecture = all[0];
  }
  const std::string model_type = json.text("model_type");
  if (model_type == "llama" && (std::any_of(std::begin(kPublishedKeys), std::end(kPublishedKeys),
                                            [&](const char* key) { return json.has(key); }) ||
                                architecture == name_of(HfClass::PublishedGta))) {
    // The one in the repository's root says LlamaForCausalLM.
    if (architecture && *architecture != name_of(HfClass::PublishedGta) && *architecture != name_of(HfClass::Llama))
      json.refuse("architectures", "GTAForCausalLM, as num_query_heads is there");
    return kPublishedGta;
  }
  for (const Family& family : kFamilies) {
    if (model_type != family.model_type) continue;
    if (architecture && *architecture != name_of(family.type))
      json.refuse("architectures", fmt::format("{}, as model_type is {}", name_of(family.type), model_type));
    return family;
  }
  json.refuse("model_type", "llama, qwen2, deepseek_v2 or gta");
}

// rope_scaling is of transformers 4, rope_parameters of 5, which writes rope_theta into it.
double rope_theta_of(const JsonObject& json) {
  constexpr double kDefault = 10000, kLeast = 1 + 1e-9, kMost = 1e12;
  std::optional<double> theta;
  if (json.has("rope_theta")) theta = json.number("rope_theta", kLeast, kMost);
  for (const char* section : {"rope_scaling", "rope_parameters"}) {
    if (!json.has(section)) continue;
    const JsonObject rope = json.object(section);
    for (const char* key : {"rope_type", "type"})
      if (rope.has(key) && rope.text(key) != "default") rope.refuse(key, "\"default\": RoPE is not scaled here");
    for (const std::string& key : rope.keys()) {
      if (key == "rope_type" || key == "type" || !rope.has(key)) continue;
      if (key == "partial_rotary_factor" && rope.is(key, 1.0)) continue;
      if (key != "rope_theta") rope.refuse(key, "nothing: RoPE is not scaled here");
      const double inner = rope.number(key, kLeast, kMost);
      if (theta && *theta != inner) rope.refuse(key, fmt::format("rope_theta's {}", *theta));
      theta = inner;
    }
  }
  return theta.value_or(kDefault);
}

// hidden_size / num_attention_heads where it is not said.
int64_t head_dim_of(const JsonObject& json, const ModelConfig& config) {
  if (json.has("head_dim")) return json.integer("head_dim", 1, kWidestHead);
  if (config.hidden_size % config.heads != 0)
    json.refuse("head_dim", fmt::format("a whole number, as num_attention_heads {} does not divide hidden_size {}",
                                        config.heads, config.hidden_size));
  return config.hidden_size / config.heads;
}

void read_grouped_query(const JsonObject& json, ModelConfig& config, HfClass type) {
  AttentionConfig& a = config.attention;
  config.head_dim = head_dim_of(json, config);
  // Qwen2's class takes 32 where the key is not there: nobody's number of heads.
  const bool as_many = type == HfClass::Llama && !json.has("num_key_value_heads");
  a.kv_heads = as_many ? config.heads : json.integer("num_key_value_heads", 1, kMostHeads);
  a.type = a.kv_heads == config.heads ? AttentionType::Mha : a.kv_heads == 1 ? AttentionType::Mqa : AttentionType::Gqa;
  if (a.type != AttentionType::Gqa) a.kv_heads = 0;  // which its type says
  a.qkv_bias = type == HfClass::Qwen2 || (json.has("attention_bias") && json.boolean("attention_bias"));
}

void read_mla(const JsonObject& json, ModelConfig& config) {
  AttentionConfig& a = config.attention;
  a.type = AttentionType::Mla;
  // Where these are not there the class has query LoRA, and experts in every layer.
  const bool says_none = [&] {
    const std::vector<std::string> keys = json.keys();
    return std::binary_search(keys.begin(), keys.end(), "q_lora_rank") && !json.has("q_lora_rank");
  }();
  if (!says_none) json.refuse("q_lora_rank", "null: queries have no LoRA here");
  if (!json.has("first_k_dense_replace") || json.integer("first_k_dense_replace", 0, INT64_MAX) < config.layers)
    json.refuse("first_k_dense_replace",
                fmt::format("at least num_hidden_layers {}: models here have no experts", config.layers));
  if (json.has("attention_bias") && json.boolean("attention_bias"))
    json.refuse("attention_bias", "false: MLA has no biases here");
  if (json.has("num_key_value_heads") && json.integer("num_key_value_heads", 1, kMostHeads) != config.heads)
    json.refuse("num_key_value_heads", fmt::format("num_attention_heads's {}", config.heads));
  a.kv_lora_rank = json.integer("kv_lora_rank", 1, kWidest);
  a.nope_dim = json.integer("qk_nope_head_dim", 1, kWidest);
  a.rope_dim = json.integer("qk_rope_head_dim", 1, kWidest);
  a.value_dim = json.integer("v_head_dim", 1, kWidest);
}

// The inverse of what hf_model.cpp writes.
void read_own_gta(const JsonObject& json, ModelConfig& config) {
  AttentionConfig& a = config.attention;
  const std::string type = json.text("attention_type");
  const std::array types = {AttentionType::Gva, AttentionType::Gha, AttentionType::Gta};
  const auto found = std::find_if(types.begin(), types.end(), [&](AttentionType t) { return type == name_of(t); });
  if (found == types.end()) json.refuse("attention_type", "gva, gha or gta");
  a.type = *found;
  a.query_heads = json.integer("num_attention_heads", 1, kMostHeads);
  a.key_heads = json.integer("key_heads", 1, kMostHeads);
  a.qkv_bias = json.boolean("qkv_bias");
  config.head_dim = json.integer("key_dim", 1, kWidestHead);
  const int64_t width = json.integer("output_width", 1, kWidestHeads);
  if (width % config.head_dim != 0)
    json.refuse("output_width", fmt::format("a multiple of key_dim {}", config.head_dim));
  config.heads = width / config.head_dim;
  if (config.heads > kMostHeads || config.heads % a.query_heads != 0)
    json.refuse("output_width", fmt::format("a multiple of num_attention_heads {} * key_dim {}, and at most {} heads",
                                            a.query_heads, config.head_dim, kMostHeads));
  const int64_t group = width / a.query_heads, value_heads = json.integer("value_heads", 1, kMostHeads),
                value_dim = json.integer("value_dim", 1, kWidest);
  if (a.type == AttentionType::Gta) {
    a.latent_heads = value_heads;
    a.latent_dim = value_dim;
    const std::string decoder = json.text("value_decoder"), gate = json.text("gate");
    const std::array decoders = {ValueDecoderType::DirectLearned, ValueDecoderType::Direct};
    const std::array gates = {GateType::Sigmoid, GateType::Silu, GateType::Relu2};
    const auto named = [](const auto& choices, const std::string& name) {
      return std::find_if(choices.begin(), choices.end(), [&](auto choice) { return name == name_of(choice); });
    };
    if (named(decoders, decoder) == decoders.end()) json.refuse("value_decoder", "direct+learned or direct");
    if (named(gates, gate) == gates.end()) json.refuse("gate", "sigmoid, silu or relu2");
    a.value_decoder = *named(decoders, decoder);
    a.gate = *named(gates, gate);
  } else {
    for (const char* key : {"value_decoder", "gate"})
      if (json.has(key)) json.refuse(key, "null: only gta has one");
    if (value_dim != group) json.refuse("value_dim", fmt::format("a group's width {}", group));
    if (a.type == AttentionType::Gva && value_heads != a.query_heads)
      json.refuse("value_heads", fmt::format("num_attention_heads's {}", a.query_heads));
    if (a.type == AttentionType::Gha) a.value_heads = value_heads * (config.heads / a.query_heads);
  }
  // What engines plan with has to follow from the rest.
  const int64_t engine_heads = std::lcm(a.key_heads, value_heads), engine_dim = std::max(config.head_dim, value_dim);
  if (json.integer("num_key_value_heads", 1, INT64_MAX) != engine_heads)
    json.refuse("num_key_value_heads", fmt::format("{}, of key_heads and value_heads", engine_heads));
  if (json.integer("head_dim", 1, INT64_MAX) != engine_dim)
    json.refuse("head_dim", fmt::format("{}, of key_dim and value_dim", engine_dim));
}

void read_published_gta(const JsonObject& json, ModelConfig& config) {
  AttentionConfig& a = config.attention;
  a.type = AttentionType::Gta;
  config.head_dim = head_dim_of(json, config);
  for (const char* key : {"query_dim", "key_dim"})
    if (json.integer(key, 1, kWidestHead) != config.head_dim)
      json.refuse(key, fmt::format("head_dim's {}", config.head_dim));
  // Its gate is as wide as the stream.
  if (config.heads * config.head_dim != config.hidden_size)
    json.refuse("head_dim", fmt::format("hidden_size {} / num_attention_heads {}", config.hidden_size, config.heads));
  a.query_heads = json.integer("num_query_heads", 1, kMostHeads);
  a.key_heads = json.integer("num_key_heads", 1, kMostHeads);
  a.latent_heads = json.integer("num_value_heads", 1, kMostHeads);
  a.latent_dim = json.integer("value_dim", 1, kWidest);
  a.value_decoder = ValueDecoderType::DirectLearned;
  a.gate = GateType::Sigmoid;
  a.qkv_bias = true;
}

std::vector<std::string> notes_of(const JsonObject& json, const HfModel& model) {
  std::vector<std::string> notes = hf_notes(model.config);
  const bool own_code = model.type == HfClass::Gta || model.type == HfClass::PublishedGta;
  if (!own_code && json.has("auto_map"))
    notes.push_back(
        fmt::format("config.json names code of its own (auto_map), which is not looked at: the model is "
                    "taken for what transformers calls {}",
                    name_of(model.type)));
  if (json.has("attention_dropout") && !json.is("attention_dropout", 0.0))
    notes.push_back("it was trained with attention_dropout, which is not here: training goes on without");
  if (const std::string named = passed_over(json); !named.empty())
    notes.push_back(fmt::format("passes over what says nothing to {}: {}", name_of(model.type), named));
  return notes;
}

}  // namespace

HfModel read_hf_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!exists(path)) bad_input(folder, "has no config.json: expected a folder as transformers saves them");
  const JsonObject json = JsonObject::parse(read_file(path, kMostConfigBytes), path, kDeepest);
  const Family family = family_of(json);
  refuse_foreign_keys(json, family.type);
  HfModel model;
  model.type = family.type;
  ModelConfig& config = model.config;
  config.hidden_size = json.integer("hidden_size", 1, kWidest);
  config.layers = json.integer("num_hidden_layers", 1, kMostLayers);
  config.intermediate_size = json.integer("intermediate_size", 1, kMostMlp);
  config.heads = json.integer("num_attention_heads", 1, kMostHeads);
  config.vocab_size = json.integer("vocab_size", 1, kMostTokens);
  config.max_sequence_length =
      json.has("max_position_embeddings") ? json.integer("max_position_embeddings", 1, kMostTokens) : family.longest;
  config.rope_theta = rope_theta_of(json);
  if (json.has("rms_norm_eps")) config.norm_eps = json.number("rms_norm_eps", 1e-20, 1);
  if (json.has("initializer_range")) config.initializer_range = json.number("initializer_range", 1e-30, 10);
  config.tie_embeddings =
      json.has("tie_word_embeddings") ? json.boolean("tie_word_embeddings") : family.ties_embeddings;
  switch (family.type) {
    case HfClass::Llama:
    case HfClass::Qwen2:
      read_grouped_query(json, config, family.type);
      break;
    case HfClass::DeepseekV2:
      read_mla(json, config);
      break;
    case HfClass::Gta:
      read_own_gta(json, config);
      break;
    case HfClass::PublishedGta:
      read_published_gta(json, config);
      break;
  }
  if (config.heads * config.head_dim > kWidestHeads)
    bad_input(path, "has {} heads of {} columns: expected at most {} columns in all", config.heads, config.head_dim,
              kWidestHeads);
  if (const std::vector<ModelConfigProblem> problems = problems_of(config); !problems.empty())
    bad_input(path, "is of no model that can be here: {} {}", problems[0].key, problems[0].message);
  model.notes = notes_of(json, model);
  return model;
}

}  // namespace gta
