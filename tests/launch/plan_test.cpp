// The plan of published models against their formulas, written out here once more.
#include "launch/plan.h"

#include <gtest/gtest.h>

#include <map>

#include "launch/config/config.h"

namespace gta {
namespace {

ModelConfig published(const std::string& name) {
  return load_model_config(std::string(GTA_SOURCE_DIR) + "/configs/models/" + name + ".yaml", {});
}

int64_t part(const Plan& plan, const std::string& name) {
  return std::map<std::string, int64_t>(plan.parts.begin(), plan.parts.end()).at(name);
}

TEST(Plan, CountsWhatGtaOneBillionHas) {
  // 54 layers of 1280, 20 heads of 64 in 5 maps, latents of 128, MLP of 3584, 128256 tokens, tied.
  const int64_t layers = 54, hidden = 1280, merged = 5 * 64 + 64 + 128 + 20 * 64, decoder = 5 * 128 * (20 / 5 * 64),
                output = 20 * 64 * hidden;
  const Plan plan = plan_model(published("gta-1b"), 2048);
  EXPECT_EQ(part(plan, "embedding"), 128256 * hidden);
  EXPECT_EQ(part(plan, "attention"), layers * (hidden * merged + merged + decoder + output));
  EXPECT_EQ(part(plan, "mlp"), layers * 3 * hidden * 3584);
  EXPECT_EQ(part(plan, "norms"), (2 * layers + 1) * hidden);
  EXPECT_EQ(part(plan, "head"), 0);
  int64_t sum = 0;
  for (const auto& [name, count] : plan.parts) sum += count;
  EXPECT_EQ(plan.parameters, sum);
  EXPECT_EQ(plan.cache_numbers_per_token_and_layer, 64 + 128);
  EXPECT_EQ(plan.map_multiply_adds, 5 * (64 + 128));
  // Biases and norms do not multiply; the tied embedding does, as the head. A token sees half of the sequence on average, itself included.
  const double multiplying = static_cast<double>(128256 * hidden + layers * (hidden * merged + decoder + output + 3 * hidden * 3584));
  EXPECT_DOUBLE_EQ(plan.flops_per_token_forward, 2 * multiplying + 2.0 * layers * 5 * (64 + 128) * 2049 / 2);
  EXPECT_DOUBLE_EQ(plan.flops_per_token_training, 3 * plan.flops_per_token_forward);
}

TEST(Plan, CountsAHeadThatIsNotTheEmbedding) {
  const Plan tied = plan_model(published("mha-160m"), 2048);
  ModelConfig config = published("mha-160m");
  config.tie_embeddings = false;
  const Plan apart = plan_model(config, 2048);
  EXPECT_EQ(part(apart, "head"), 32000 * 768);
  EXPECT_EQ(apart.parameters, tied.parameters + 32000 * 768);
  EXPECT_DOUBLE_EQ(apart.flops_per_token_forward, tied.flops_per_token_forward) << "the embedding is looked up";
  EXPECT_EQ(tied.cache_numbers_per_token_and_layer, 2 * 12 * 64);
  EXPECT_EQ(tied.map_multiply_adds, 12 * (64 + 64));
}

TEST(Plan, MemoryHoldsWeightsGradientsMomentsAndTheCopyOfASave) {
  const ModelConfig config = published("gqa-160m");
  const int64_t weights = plan_model(config, 512).parameters * 4;
  const MemoryPlan one = plan_memory(config, 512, 1, DType::F32, true), four = plan_memory(config, 512, 4, DType::F32, false);
  // Padding between weights is far below a thousandth.
  EXPECT_NEAR(static_cast<double>(one.gradients), static_cast<double>(weights), 1e-3 * static_cast<double>(weights));
  EXPECT_GE(one.parameters, one.gradients);
  EXPECT_EQ(one.optimizer, 2 * one.gradients);
  EXPECT_EQ(one.checkpoint_staging, 3 * one.gradients);
  EXPECT_EQ(four.checkpoint_staging, 0);
  EXPECT_EQ(four.activations, 4 * one.activations);
  EXPECT_EQ(plan_memory(config, 512, 1, DType::F64, true).optimizer, 2 * one.optimizer);
}

TEST(Plan, TheLargestMicroBatchFitsAndTheNextDoesNot) {
  const ModelConfig config = published("gta1-160m");
  for (int64_t bytes : {int64_t{1} << 30, int64_t{6} << 30, int64_t{40} << 30}) {
    const int64_t largest = largest_micro_batch(config, 1024, DType::F32, true, bytes);
    const auto total = [&](int64_t batch) { return plan_memory(config, 1024, batch, DType::F32, true).total(); };
    EXPECT_TRUE(largest == 0 || total(largest) <= bytes);
    EXPECT_GT(total(largest + 1), bytes);
  }
  EXPECT_EQ(largest_micro_batch(config, 1024, DType::F32, true, int64_t{1} << 30), 0);
}

}  // namespace
}  // namespace gta
