#include "checkpoints/exports/hf_model.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/small_model.h"

namespace gta {
namespace {

TEST(HfModel, EachVariantHasTheClassThatComputesTheSame) {
  for (AttentionType type : testing::kAttentionTypes)
    for (bool bias : {false, true}) {
      ModelConfig config = testing::small_model(type);
      config.attention.qkv_bias = bias;
      const bool grouped_query = type == AttentionType::Mha || type == AttentionType::Mqa || type == AttentionType::Gqa;
      const char* const expected = type == AttentionType::Mla ? "DeepseekV2ForCausalLM"
                                   : grouped_query            ? "LlamaForCausalLM"
                                                              : "GtaForCausalLM";
      const auto json = nlohmann::json::parse(hf_config_json(config, NumberFormat::BF16, {1, 2, -1}));
      EXPECT_EQ(json["architectures"][0], expected) << name_of(type);
      // What one version reads under one name another one reads under the other.
      EXPECT_EQ(json["rope_theta"], config.rope_theta);
      EXPECT_EQ(json["rope_parameters"]["rope_theta"], config.rope_theta);
      EXPECT_EQ(json["dtype"], "bfloat16");
      EXPECT_EQ(json["torch_dtype"], "bfloat16");
      EXPECT_EQ(json["eos_token_id"], 2);
      EXPECT_TRUE(json["pad_token_id"].is_null());
      EXPECT_EQ(json.contains("auto_map"), std::string(expected) == "GtaForCausalLM");
      // Behind o_proj zeros, where the class has a bias there too.
      int zeros = 0;
      for (const HfTensor& tensor : hf_tensors(config)) zeros += tensor.parameter.empty();
      EXPECT_EQ(zeros, grouped_query && bias ? config.layers : 0);
    }
}

// Six maps of two keys and three latents: an engine sees six keys and values of one width.
TEST(HfModel, TheCoreOfOurOwnClassIsWhatEnginesPlanWith) {
  const auto json =
      nlohmann::json::parse(hf_config_json(testing::small_model(AttentionType::Gta), NumberFormat::F32, {}));
  EXPECT_EQ(json["num_attention_heads"], 6);
  EXPECT_EQ(json["num_key_value_heads"], 6);
  EXPECT_EQ(json["head_dim"], 4);
  EXPECT_EQ(json["output_width"], 48);
  const auto gha =
      nlohmann::json::parse(hf_config_json(testing::small_model(AttentionType::Gha), NumberFormat::F32, {}));
  EXPECT_EQ(gha["value_heads"], 2) << "four values, two to a map";
  EXPECT_EQ(gha["value_dim"], 8);
  EXPECT_TRUE(gha["gate"].is_null());
}

TEST(HfModel, RowsOfMlaBecomeNeighboursAndComeBack) {
  const ModelConfig config = [] {
    ModelConfig c = testing::small_model(AttentionType::Mla);
    c.heads = 2;
    c.attention.nope_dim = 3;
    c.attention.rope_dim = 4;
    c.attention.kv_lora_rank = 2;
    return c;
  }();
  int moved = 0;
  for (const HfTensor& tensor : hf_tensors(config)) {
    std::vector<float> values(static_cast<size_t>(
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>())));
    std::iota(values.begin(), values.end(), 0.0F);
    EXPECT_EQ(from_hf(tensor, to_hf(tensor, values)), values) << tensor.name;
    if (tensor.name.ends_with("layers.0.self_attn.q_proj.weight")) {
      EXPECT_EQ(tensor.rows, (std::vector<int64_t>{0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 12, 11, 13}));
      ++moved;
    } else if (tensor.name.ends_with("layers.0.self_attn.kv_a_proj_with_mqa.weight")) {
      EXPECT_EQ(tensor.rows, (std::vector<int64_t>{0, 1, 2, 4, 3, 5}));
      ++moved;
    } else if (tensor.name.find("layers.0") != std::string::npos) {
      EXPECT_TRUE(tensor.rows.empty()) << tensor.name;
      if (tensor.name.ends_with("kv_b_proj.weight")) {
        EXPECT_EQ(tensor.shape, (std::vector<int64_t>{14, 2})) << "(out, in)";
      }
    }
  }
  EXPECT_EQ(moved, 2);
}

}  // namespace
}  // namespace gta
