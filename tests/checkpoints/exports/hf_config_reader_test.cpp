// config.json of others: what is taken and what of it, and what is refused, by its key.
#include "checkpoints/exports/hf_config_reader.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoints/exports/number_format.h"
#include "core/error.h"
#include "core/io/file.h"
#include "tests/checkpoints/test_state.h"
#include "tests/small_model.h"

namespace gta {
namespace {

using Json = nlohmann::json;

// As transformers 4.57.6 saves a LlamaForCausalLM.
const Json kLlama = Json::parse(R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
  "dtype": "float32", "eos_token_id": 2, "head_dim": 8, "hidden_act": "silu", "hidden_size": 48,
  "initializer_range": 0.03, "intermediate_size": 80, "max_position_embeddings": 1000, "mlp_bias": false,
  "model_type": "llama", "num_attention_heads": 6, "num_hidden_layers": 2, "num_key_value_heads": 2,
  "pretraining_tp": 1, "rms_norm_eps": 3e-05, "rope_scaling": null, "rope_theta": 54321.0,
  "tie_word_embeddings": false, "transformers_version": "4.57.6", "use_cache": true, "vocab_size": 400})");

Json qwen2() {
  Json json = kLlama;
  json.update(Json::parse(R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
                              "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
                              "layer_types": ["full_attention", "full_attention"]})"));
  return json;
}

Json deepseek() {
  Json json = kLlama;
  json.update(Json::parse(R"({"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2",
                              "num_key_value_heads": 6, "q_lora_rank": null, "kv_lora_rank": 24, "qk_nope_head_dim": 10,
                              "qk_rope_head_dim": 4, "v_head_dim": 12, "first_k_dense_replace": 2,
                              "n_routed_experts": 64, "n_shared_experts": 2, "moe_intermediate_size": 1407})"));
  return json;
}

// gta/config.json of github.com/plm-team/GTA, whole.
const Json kPublished = Json::parse(R"({
  "architectures": ["GTAForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "auto_map": {"AutoConfig": "configuration_gta.GTAConfig", "AutoModel": "modeling_gta.GTAModel",
               "AutoModelForCausalLM": "modeling_gta.GTAForCausalLM"},
  "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu", "hidden_size": 1280,
  "initializer_range": 0.02, "intermediate_size": 3584, "max_position_embeddings": 2048, "mlp_bias": false,
  "model_type": "llama", "num_attention_heads": 20, "num_hidden_layers": 54, "num_query_heads": 5, "query_dim": 64,
  "num_key_heads": 1, "key_dim": 64, "num_value_heads": 1, "value_dim": 128, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
  "vocab_size": 128256})");

Json own(AttentionType type) {
  return Json::parse(hf_config_json(testing::small_model(type), NumberFormat::F32, {1, 2, -1}));
}

class HfConfigReader : public ::testing::Test {
 protected:
  HfModel read(const Json& json) const {
    publish_text(folder_.path() + "/config.json", json.dump());
    return read_hf_config(folder_.path());
  }
  std::string refusal(const Json& json) const {
    try {
      read(json);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      return error.what();
    }
    return "it is taken";
  }
  // A key that is another is refused by its name, with what was expected.
  void expect_refused(Json json, const std::string& key, const Json& value, const std::string& said) const {
    json[key] = value;
    const std::string text = refusal(json);
    EXPECT_NE(text.find(said), std::string::npos) << key << " " << value << "\n" << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }

  test::TemporaryFolder folder_;
};

TEST_F(HfConfigReader, LlamaIsGroupedQueryAttention) {
  const HfModel model = read(kLlama);
  EXPECT_EQ(model.type, HfClass::Llama);
  const ModelConfig& c = model.config;
  EXPECT_EQ(c.hidden_size, 48);
  EXPECT_EQ(c.layers, 2);
  EXPECT_EQ(c.intermediate_size, 80);
  EXPECT_EQ(c.heads, 6);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.vocab_size, 400);
  EXPECT_EQ(c.max_sequence_length, 1000);
  EXPECT_EQ(c.rope_theta, 54321);
  EXPECT_EQ(c.norm_eps, 3e-5);
  EXPECT_EQ(c.initializer_range, 0.03);
  EXPECT_FALSE(c.tie_embeddings);
  EXPECT_EQ(c.attention.type, AttentionType::Gqa);
  EXPECT_EQ(c.attention.kv_heads, 2);
  EXPECT_FALSE(c.attention.qkv_bias);
  EXPECT_TRUE(model.notes.empty()) << model.notes[0];

  Json json = kLlama;
  json["num_key_value_heads"] = 6;
  EXPECT_EQ(read(json).config.attention.type, AttentionType::Mha);
  json["num_key_value_heads"] = 1;
  EXPECT_EQ(read(json).config.attention.type, AttentionType::Mqa);
  json["attention_bias"] = true;
  EXPECT_TRUE(read(json).config.attention.qkv_bias);
  json["head_dim"] = 10;
  EXPECT_EQ(read(json).config.head_dim, 10) << "heads need not be as wide as the stream";
}

TEST_F(HfConfigReader, KeysThatAreNotThereStandForWhatTheClassTakes) {
  Json json = kLlama;
  for (const char* key : {"architectures", "num_key_value_heads", "head_dim", "rope_theta", "rms_norm_eps",
                          "hidden_act", "max_position_embeddings", "tie_word_embeddings", "attention_bias", "mlp_bias",
                          "rope_scaling", "initializer_range", "attention_dropout"})
    json.erase(key);
  const ModelConfig c = read(json).config;
  EXPECT_EQ(c.attention.type, AttentionType::Mha);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_EQ(c.max_sequence_length, 2048);
  EXPECT_FALSE(c.tie_embeddings);
  EXPECT_FALSE(c.attention.qkv_bias);
  for (const char* key :
       {"model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "vocab_size"}) {
    Json lacking = kLlama;
    lacking.erase(key);
    EXPECT_NE(refusal(lacking).find(std::string(key) + ": expected "), std::string::npos) << refusal(lacking);
    EXPECT_NE(refusal(lacking).find("got nothing"), std::string::npos) << refusal(lacking);
  }
}

TEST_F(HfConfigReader, RopesBaseIsReadWhereEitherVersionOfTransformersWritesIt) {
  Json json = kLlama;
  json.erase("rope_theta");
  json["rope_parameters"] = Json::parse(R"({"rope_theta":777,"rope_type":"default"})");
  EXPECT_EQ(read(json).config.rope_theta, 777);
  json["rope_theta"] = 777.0;
  EXPECT_EQ(read(json).config.rope_theta, 777);
  json["rope_scaling"] = Json::parse(R"({"type":"default"})");
  EXPECT_EQ(read(json).config.rope_theta, 777);
  json["rope_theta"] = 778;
  EXPECT_NE(refusal(json).find("rope_parameters.rope_theta: expected rope_theta's 778, got 777"), std::string::npos)
      << refusal(json);
  expect_refused(kLlama, "rope_scaling", Json::parse(R"({"rope_type":"llama3","factor":8.0})"),
                 "rope_scaling.rope_type: expected \"default\": RoPE is not scaled here, got \"llama3\"");
  expect_refused(kLlama, "rope_scaling", Json::parse(R"({"type":"linear","factor":2.0})"),
                 "rope_scaling.type: expected");
  expect_refused(kLlama, "rope_scaling", Json::parse(R"({"factor":2.0})"), "rope_scaling.factor: expected nothing");
  expect_refused(kLlama, "rope_parameters", Json::parse(R"({"full_attention":{"rope_theta":5}})"),
                 "rope_parameters.full_attention: expected nothing");
  expect_refused(kLlama, "rope_parameters", Json::parse(R"({"rope_type":"default","partial_rotary_factor":0.5})"),
                 "rope_parameters.partial_rotary_factor");
  expect_refused(kLlama, "rope_scaling", "linear", "rope_scaling: expected an object");
  expect_refused(kLlama, "rope_theta", 0, "rope_theta: expected a number");
}

TEST_F(HfConfigReader, Qwen2HasBiasesAndNoWindow) {
  const HfModel model = read(qwen2());
  EXPECT_EQ(model.type, HfClass::Qwen2);
  EXPECT_TRUE(model.config.attention.qkv_bias);
  EXPECT_EQ(model.config.attention.kv_heads, 2);
  EXPECT_TRUE(model.notes.empty()) << model.notes[0];
  expect_refused(qwen2(), "use_sliding_window", true, "use_sliding_window: expected false");
  expect_refused(qwen2(), "layer_types", Json::array({"full_attention", "sliding_attention"}), "layer_types: expected");
  Json json = qwen2();
  json.erase("num_key_value_heads");
  EXPECT_NE(refusal(json).find("num_key_value_heads: expected"), std::string::npos) << "its class takes 32";
  for (const HfTensor& tensor : hf_tensors(model.config, model.type))
    EXPECT_FALSE(tensor.name.ends_with("o_proj.bias")) << tensor.name;
}

TEST_F(HfConfigReader, DeepseekV2IsMlaWithoutQueryLoraAndExperts) {
  const HfModel model = read(deepseek());
  EXPECT_EQ(model.type, HfClass::DeepseekV2);
  const AttentionConfig& a = model.config.attention;
  EXPECT_EQ(a.type, AttentionType::Mla);
  EXPECT_EQ(a.kv_lora_rank, 24);
  EXPECT_EQ(a.nope_dim, 10);
  EXPECT_EQ(a.rope_dim, 4);
  EXPECT_EQ(a.value_dim, 12);
  ASSERT_EQ(model.notes.size(), 1u) << "its eps is not 1e-6";
  EXPECT_NE(model.notes[0].find("eps of 1e-6"), std::string::npos);
  expect_refused(deepseek(), "q_lora_rank", 1536, "q_lora_rank: expected null");
  expect_refused(deepseek(), "first_k_dense_replace", 1,
                 "first_k_dense_replace: expected at least num_hidden_layers 2");
  expect_refused(deepseek(), "first_k_dense_replace", nullptr, "first_k_dense_replace: expected");
  expect_refused(deepseek(), "attention_bias", true, "attention_bias: expected false");
  expect_refused(deepseek(), "num_key_value_heads", 2, "num_key_value_heads: expected num_attention_heads's 6");
  expect_refused(deepseek(), "qk_rope_head_dim", 3, "attention.rope_dim is 3: RoPE rotates pairs");
  for (const char* key : {"q_lora_rank", "first_k_dense_replace", "kv_lora_rank", "v_head_dim"}) {
    Json json = deepseek();
    json.erase(key);
    EXPECT_NE(refusal(json).find(std::string(key) + ": expected"), std::string::npos) << refusal(json);
  }
}

TEST_F(HfConfigReader, WhatIsExportedComesBackTheSame) {
  for (AttentionType type : testing::kAttentionTypes)
    for (bool other : {false, true}) {
      ModelConfig config = testing::small_model(type);
      if (type != AttentionType::Mla) config.attention.qkv_bias = other;
      config.tie_embeddings = other;
      config.rope_theta = 12345.678;
      config.attention.gate = other ? GateType::Relu2 : GateType::Silu;
      config.attention.value_decoder = other ? ValueDecoderType::Direct : ValueDecoderType::DirectLearned;
      const std::string json = hf_config_json(config, NumberFormat::F32, {1, 2, -1});
      const HfModel model = read(Json::parse(json));
      EXPECT_EQ(model.type, hf_class_of(config));
      EXPECT_EQ(model.config.attention.type, type);
      EXPECT_EQ(hf_config_json(model.config, NumberFormat::F32, {1, 2, -1}), json) << name_of(type);
      EXPECT_TRUE(model.notes.empty()) << model.notes[0];
      // The parameters too, and their names.
      const std::vector<HfTensor> before = hf_tensors(config), after = hf_tensors(model.config, model.type);
      ASSERT_EQ(before.size(), after.size());
      for (size_t i = 0; i < before.size(); ++i) {
        EXPECT_EQ(before[i].name, after[i].name);
        EXPECT_EQ(before[i].shape, after[i].shape);
        EXPECT_EQ(before[i].rows, after[i].rows);
      }
    }
}

TEST_F(HfConfigReader, OurOwnClassHasToBeConsistent) {
  const Json gta = own(AttentionType::Gta), gha = own(AttentionType::Gha), gva = own(AttentionType::Gva);
  expect_refused(gta, "attention_type", "gqa", "attention_type: expected gva, gha or gta");
  expect_refused(gta, "gate", "tanh", "gate: expected sigmoid, silu or relu2");
  expect_refused(gta, "value_decoder", nullptr, "value_decoder: expected a text");
  expect_refused(gta, "output_width", 50, "output_width: expected a multiple of key_dim 4");
  expect_refused(gta, "output_width", 52, "output_width: expected a multiple of num_attention_heads 6 * key_dim 4");
  expect_refused(gta, "num_key_value_heads", 3, "num_key_value_heads: expected 6");
  expect_refused(gta, "head_dim", 8, "head_dim: expected 4");
  Json keys = gta;
  keys["num_key_value_heads"] = 12;
  expect_refused(keys, "key_heads", 4, "attention.key_heads 4 does not divide query_heads 6");
  expect_refused(gta, "qkv_bias", 1, "qkv_bias: expected true or false");
  expect_refused(gha, "gate", "silu", "gate: expected null");
  expect_refused(gha, "value_dim", 4, "value_dim: expected a group's width 8");
  expect_refused(gva, "value_heads", 3, "value_heads: expected num_attention_heads's 6");
}

TEST_F(HfConfigReader, PublishedGtaIsKnownByItsKeys) {
  for (const char* architecture : {"GTAForCausalLM", "LlamaForCausalLM"}) {
    Json json = kPublished;
    json["architectures"] = Json::array({architecture});
    const HfModel model = read(json);
    EXPECT_EQ(model.type, HfClass::PublishedGta);
    const ModelConfig& c = model.config;
    EXPECT_EQ(c.attention.type, AttentionType::Gta);
    EXPECT_EQ(c.heads, 20);
    EXPECT_EQ(c.head_dim, 64);
    EXPECT_EQ(c.attention.query_heads, 5);
    EXPECT_EQ(c.attention.key_heads, 1);
    EXPECT_EQ(c.attention.latent_heads, 1);
    EXPECT_EQ(c.attention.latent_dim, 128);
    EXPECT_TRUE(c.attention.qkv_bias) << "whatever attention_bias says";
    EXPECT_EQ(c.rope_theta, 10000);
    EXPECT_EQ(c.norm_eps, 1e-5);
    EXPECT_TRUE(c.tie_embeddings);
    EXPECT_TRUE(model.notes.empty()) << model.notes[0];
    for (const HfTensor& tensor : hf_tensors(c, model.type))
      if (tensor.name.ends_with("layers.0.self_attn.v_b_proj.weight")) {
        EXPECT_EQ(tensor.shape, (std::vector<int64_t>{256, 640})) << "(e d_l, nq d_l)";
      }
  }
  expect_refused(kPublished, "query_dim", 32, "query_dim: expected head_dim's 64");
  expect_refused(kPublished, "key_dim", 128, "key_dim: expected head_dim's 64");
  expect_refused(kPublished, "hidden_size", 1024, "head_dim: expected hidden_size 1024 / num_attention_heads 20");
  expect_refused(kPublished, "value_dim", 96, "attention.latent_dim 96 does not divide a group's width 256");
  expect_refused(kPublished, "architectures", Json::array({"MistralForCausalLM"}),
                 "architectures: expected GTAForCausalLM");
  Json json = kPublished;
  json.erase("num_value_heads");
  EXPECT_NE(refusal(json).find("num_value_heads: expected"), std::string::npos) << refusal(json);
}

TEST_F(HfConfigReader, WhatOtherModelsHaveIsRefusedByItsKey) {
  const std::pair<const char*, Json> kKeys[] = {
      {"quantization_config", {{"quant_method", "gptq"}}},
      {"sliding_window", 4096},
      {"use_sliding_window", true},
      {"hidden_act", "gelu"},
      {"mlp_bias", true},
      {"use_bias", true},
      {"o_proj_bias", true},
      {"partial_rotary_factor", 0.5},
      {"rotary_pct", 0.25},
      {"alibi", true},
      {"attention_multiplier", 0.0078125},
      {"embedding_multiplier", 12.0},
      {"residual_multiplier", 0.22},
      {"logits_scaling", 8.0},
      {"logit_scale", 0.0625},
      {"scale_emb", 12},
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30.0},
      {"query_pre_attn_scalar", 256},
      {"clip_qkv", 8.0},
      {"qk_norm", true},
      {"use_parallel_residual", true},
      {"num_experts", 8},
      {"num_local_experts", 8},
      {"n_routed_experts", 64},
      {"num_nextn_predict_layers", 1},
      {"no_rope_layers", {1, 1, 0}},
      {"attention_chunk_size", 8192},
      {"is_encoder_decoder", true},
      {"text_config", {{"a", 1}}},
      // and of another type than it has to have
      {"mlp_bias", "false"},
      {"mlp_bias", 0},
      {"partial_rotary_factor", "1.0"},
      {"hidden_act", 7},
      {"attention_bias", 1},
      {"tie_word_embeddings", "true"},
      {"hidden_size", "48"},
      {"hidden_size", 48.0},
      {"hidden_size", -48},
      {"hidden_size", 0},
      {"hidden_size", 1e30},
      {"vocab_size", 18446744073709551615u},
      {"num_hidden_layers", 1000000000},
      {"rms_norm_eps", "1e-5"},
      {"rms_norm_eps", 0},
      {"max_position_embeddings", 2048.5},
      {"architectures", Json::array({"LlamaForCausalLM", "LlamaForCausalLM"})},
      {"architectures", Json::array({"LlamaForSequenceClassification"})},
      {"architectures", "LlamaForCausalLM"},
      {"model_type", "mistral"},
      {"model_type", "qwen2"},
  };
  for (const auto& [key, value] : kKeys) {
    // Its own name, or that of the key that it does not go with.
    const std::string named = std::string(key) == "model_type" && value == "qwen2" ? "architectures" : key;
    expect_refused(kLlama, key, value, "config.json] " + named + ": expected ");
  }
  // The same keys as those files have them where they mean nothing.
  Json neutral = kLlama;
  for (const char* key : {"quantization_config", "sliding_window", "attention_multiplier", "clip_qkv", "hidden_act"})
    neutral[key] = nullptr;
  for (const char* key : {"use_sliding_window", "mlp_bias", "qk_norm", "is_encoder_decoder"}) neutral[key] = false;
  for (const char* key : {"partial_rotary_factor", "residual_multiplier", "logit_scale"}) neutral[key] = 1.0;
  neutral["num_experts"] = 0;
  EXPECT_EQ(refusal(neutral), "it is taken");
}

TEST_F(HfConfigReader, WhatNoModelCanBeIsRefusedWithItsReason) {
  expect_refused(kLlama, "num_key_value_heads", 4, "attention.kv_heads 4 does not divide heads 6");
  expect_refused(kLlama, "head_dim", 7, "head_dim is 7: RoPE rotates pairs");
  Json json = kLlama;
  json.erase("head_dim");
  json["num_attention_heads"] = 5;
  EXPECT_NE(refusal(json).find("head_dim: expected a whole number, as num_attention_heads 5 does not divide "
                               "hidden_size 48"),
            std::string::npos)
      << refusal(json);
  json["head_dim"] = 65536;
  json["num_attention_heads"] = 65536;
  EXPECT_NE(refusal(json).find("expected at most 16777216 columns in all"), std::string::npos) << refusal(json);
}

TEST_F(HfConfigReader, WhatIsPassedOverIsSaid) {
  Json json = kLlama;
  json["zebra"] = 1;
  json["a\nb"] = 1;
  json["aardvark"] = {1};
  json["gone"] = nullptr;
  json["attention_dropout"] = 0.1;
  json["auto_map"] = Json::parse(R"({"AutoModel":"modeling_x.X"})");
  const std::vector<std::string> notes = read(json).notes;
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_NE(notes[0].find("auto_map"), std::string::npos) << notes[0];
  EXPECT_NE(notes[1].find("attention_dropout"), std::string::npos) << notes[1];
  EXPECT_NE(notes[2].find("LlamaForCausalLM: one with an odd name, aardvark, zebra"), std::string::npos) << notes[2];
}

TEST_F(HfConfigReader, AFileThatIsNoneIsRefused) {
  try {
    read_hf_config(folder_.path());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("has no config.json"), std::string::npos) << error.what();
  }
  make_directories(folder_.path() + "/config.json");
  EXPECT_THROW(read_hf_config(folder_.path()), Error);
}

}  // namespace
}  // namespace gta
