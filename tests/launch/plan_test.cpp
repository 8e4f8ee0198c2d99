// What plan says a step holds is what it holds.
#include "launch/plan.h"

#include <gtest/gtest.h>

#include "core/allocator.h"
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
          tape.backward(model.loss(tape, tokens, tokens, 1.0 / 512));
          optimizer.step(1e-3, optimizer.gradient_norm());
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

}  // namespace
}  // namespace gta
