// What plan says a step holds is what it holds, and what it counts is what the formulas say.
#include "launch/plan.h"

#include <gtest/gtest.h>

#include <map>

#include "core/allocator.h"
#include "launch/config/config.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

ModelConfig model_of(AttentionType type) {
  ModelConfig config;
  config.hidden_size = 128;
  config.layers = 16;
  config.intermediate_size = 320;
  config.heads = 8;
  config.head_dim = 16;
  config.vocab_size = 512;
  config.max_sequence_length = 128;
  config.attention.type = type;
  config.attention.kv_heads = 2;
  config.attention.query_heads = 2;
  config.attention.key_heads = 1;
  config.attention.latent_heads = 1;
  config.attention.latent_dim = 32;
  config.attention.kv_lora_rank = 48;
  config.attention.nope_dim = 16;
  config.attention.rope_dim = 8;
  config.attention.value_dim = 16;
  return config;
}

TEST(Plan, OfMemoryIsWithinFivePerCentOfWhatAStepHolds) {
  for (AttentionType type : {AttentionType::Gta, AttentionType::Gqa, AttentionType::Mla})
    for (DType dtype : {DType::F32, DType::BF16})
      for (Recompute recompute : {Recompute::None, Recompute::Elementwise, Recompute::Block}) {
        SCOPED_TRACE(std::string(name_of(type)) + " " + name_of(dtype) + " " + name_of(recompute));
        const ModelConfig config = model_of(type);
        const MemoryPlan plan = plan_memory(config, {.sequence_length = 128, .micro_batch = 4, .dtype = dtype, .recompute = recompute});
        release_pooled_memory(Device{});
        const int64_t before = memory_report(Device{}).total_in_use();
        reset_memory_peak(Device{});
        ParameterSpace space;
        const CausalLm model(space, config);
        space.allocate(dtype, Device{}, SpaceUse::Training);
        space.initialize(1);
        release_pooled_memory(Device{});  // as the trainer does
        reset_memory_peak(Device{});
        AdamW optimizer(space, OptimizerConfig{});
        const Tensor tokens = Tensor::zeros({4, 128}, DType::I32, Device{}, Purpose::Data);
        for (int i = 0; i < 2; ++i) {
          Tape tape(TapeMode::Recording, recompute);
          const Tensor loss = model.loss(tape, tokens, tokens, 1.0 / 512);
          tape.backward(loss);
          optimizer.step(1e-3, optimizer.sum_of_squares(), loss);
        }
        const MemoryReport report = memory_report(Device{});
        const auto near = [](int64_t planned, int64_t held) { return std::abs(static_cast<double>(planned - held)) <= 0.05 * static_cast<double>(held); };
        EXPECT_EQ(plan.gradients, report.peak[static_cast<int>(Purpose::Gradients)]);
        EXPECT_EQ(plan.optimizer, report.peak[static_cast<int>(Purpose::Optimizer)]);
        EXPECT_TRUE(near(plan.parameters, report.peak[static_cast<int>(Purpose::Parameters)]));
        EXPECT_TRUE(near(plan.activations, report.peak[static_cast<int>(Purpose::Activations)]))
            << plan.activations << " " << report.peak[static_cast<int>(Purpose::Activations)];
        EXPECT_TRUE(near(plan.peak, report.reserved_peak - before)) << plan.peak << " " << report.reserved_peak - before;
      }
}

TEST(Plan, LargestMicroBatchIsTheLastThatFits) {
  const ModelConfig config = model_of(AttentionType::Gta);
  TrainingShape shape{.sequence_length = 64};
  const int64_t bytes = int64_t{256} << 20, largest = largest_micro_batch(config, shape, bytes);
  shape.micro_batch = largest;
  EXPECT_LE(plan_memory(config, shape).total(), bytes);
  shape.micro_batch = largest + 1;
  EXPECT_GT(plan_memory(config, shape).total(), bytes);
  EXPECT_EQ(largest_micro_batch(config, shape, 1 << 20), 0);
}

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

}  // namespace
}  // namespace gta
