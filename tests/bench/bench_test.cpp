// What the benchmarks list is what a training step does. No test here looks at how long anything takes.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "bench/kernels.h"
#include "bench/products.h"
#include "bench/step.h"
#include "core/error.h"
#include "core/measure/peak.h"
#include "tests/cuda_device.h"

namespace gta {
namespace {

ModelConfig tiny_model(AttentionType type) {
  ModelConfig config;
  config.hidden_size = 24;
  config.layers = 3;
  config.intermediate_size = 40;
  config.heads = 6;
  config.head_dim = 8;
  config.vocab_size = 50;
  config.max_sequence_length = 32;
  config.attention.type = type;
  if (type == AttentionType::Gqa) config.attention.kv_heads = 2;
  if (type == AttentionType::Gta) {
    config.attention.query_heads = 3;
    config.attention.key_heads = 1;
    config.attention.latent_heads = 1;
    config.attention.latent_dim = 8;
  }
  if (type == AttentionType::Gva || type == AttentionType::Gha) {
    config.attention.query_heads = 3;
    config.attention.key_heads = 1;
    config.attention.value_heads = 2;
  }
  if (type == AttentionType::Mla) {
    config.attention.kv_lora_rank = 12;
    config.attention.nope_dim = 8;
    config.attention.rope_dim = 4;
    config.attention.value_dim = 10;
  }
  return config;
}

std::vector<ModelConfig> models() {
  ModelConfig direct = tiny_model(AttentionType::Gta), untied = tiny_model(AttentionType::Gqa),
              chunked = tiny_model(AttentionType::Gta);
  direct.attention.value_decoder = ValueDecoderType::Direct;
  untied.tie_embeddings = untied.attention.qkv_bias = false;
  chunked.vocab_size = 1 << 15;  // the head goes by chunks of 128 tokens, and the last one is shorter
  return {tiny_model(AttentionType::Mha),
          tiny_model(AttentionType::Mla),
          tiny_model(AttentionType::Gva),
          tiny_model(AttentionType::Gha),
          tiny_model(AttentionType::Gta),
          direct,
          untied,
          chunked};
}

constexpr int64_t kBatch = 5, kSequence = 31;

StepMeasurement one_step(const ModelConfig& model, DType dtype = DType::F32, Device device = {}) {
  return measure_step({.model = model,
                       .optimizer = {},
                       .micro_batch = kBatch,
                       .sequence = kSequence,
                       .steps = 1,
                       .warmup_steps = 0,
                       .dtype = dtype,
                       .device = device});
}

TEST(Bench, TheProductsAddUpToThoseOfAStep) {
  for (const ModelConfig& model : models()) {
    double listed = 0, made = 0;
    for (const Product& product : products_of_step(model, kBatch * kSequence, DeviceType::Cpu))
      listed += product.flops() * static_cast<double>(product.calls);
    for (const StepPart& part : one_step(model).parts)
      if (part.name != "shared_map_attention") made += part.flops;
    EXPECT_EQ(listed, made) << name_of(model.attention.type);
  }
}

void expect_the_ops_of_a_step(const ModelConfig& model, DType dtype, Device device) {
  SCOPED_TRACE(name_of(model.attention.type));
  const KernelMeasurement measured = measure_kernels({.model = model,
                                                      .micro_batch = kBatch,
                                                      .sequence = kSequence,
                                                      .dtype = dtype,
                                                      .device = device,
                                                      .repeats = 1,
                                                      .only = ""});
  EXPECT_GT(measured.peak_flops, 0);
  EXPECT_GT(measured.copy_bandwidth, 0);
  double listed = 0, made = 0;
  for (const BenchRow& row : measured.rows) {
    EXPECT_GT(row.timing.median, 0) << row.name;
    EXPECT_GE(row.timing.median, row.timing.least) << row.name;
    // A peer's row is no part of a step.
    if (row.kind == RowKind::Op && !row.name.ends_with("(cuDNN)")) listed += row.flops * static_cast<double>(row.calls);
  }
  for (const StepPart& part : one_step(model, dtype, device).parts) {
    made += part.flops;
    // The loss is one row; what is inside no range is no op.
    if (part.name == "other" || part.name == "cross_entropy" || part.name == "linear_cross_entropy") continue;
    const std::string direction = part.phase == StepPhase::Backward                                  ? " backward"
                                  : part.phase == StepPhase::Update || part.name == "zero_gradients" ? ""
                                                                                                     : " forward";
    double calls = 0;
    for (const BenchRow& row : measured.rows)
      if (row.kind == RowKind::Op && row.name.starts_with(part.name) && row.name.ends_with(direction))
        calls += static_cast<double>(row.calls);
    EXPECT_EQ(calls, part.calls) << part.name << direction;
  }
  EXPECT_EQ(listed, made);
}

TEST(Bench, TheOpsAreThoseOfAStepWithTheirCallsAndFlops) {
  for (AttentionType type : {AttentionType::Gta, AttentionType::Gqa, AttentionType::Mla, AttentionType::Gha})
    expect_the_ops_of_a_step(tiny_model(type), DType::F32, Device{});
}

TEST(Bench, CudaOpsAreThoseOfAStepWithTheirCallsAndFlops) {
  GTA_NEEDS_CUDA();
  expect_the_ops_of_a_step(tiny_model(AttentionType::Gta), DType::BF16, *cuda_device());
  for (DType dtype : {DType::F32, DType::BF16})
    expect_the_ops_of_a_step(tiny_model(AttentionType::Mla), dtype, *cuda_device());
}

TEST(Bench, OnlyChoosesRowsByName) {
  KernelBenchmark settings{.model = tiny_model(AttentionType::Gta),
                           .micro_batch = 1,
                           .sequence = 8,
                           .dtype = DType::F32,
                           .device = {},
                           .repeats = 2,
                           .only = "swiglu"};
  const KernelMeasurement measured = measure_kernels(settings);
  std::set<std::string> names;
  for (const BenchRow& row : measured.rows) names.insert(row.name);
  EXPECT_EQ(names, (std::set<std::string>{"swiglu forward", "swiglu backward"}));
  EXPECT_EQ(measured.rows.front().timing.repeats, 2);
  settings.only = "swiglue";
  EXPECT_THROW(measure_kernels(settings), Error);
}

TEST(Bench, TheStepsPartsLieWithinItsTimeAndItsMemoryIsTheModels) {
  const ModelConfig model = tiny_model(AttentionType::Gta);
  const StepMeasurement measured = measure_step({.model = model,
                                                 .optimizer = {},
                                                 .micro_batch = 2,
                                                 .sequence = 16,
                                                 .steps = 4,
                                                 .warmup_steps = 2,
                                                 .dtype = DType::F64,
                                                 .device = {}});
  ASSERT_EQ(measured.step_seconds.size(), 4u);
  double steps = 0, parts = 0;
  for (double seconds : measured.step_seconds) steps += seconds / 4;
  for (const StepPart& part : measured.parts) parts += part.seconds;
  EXPECT_GT(parts, 0);
  EXPECT_LE(parts, steps);
  EXPECT_TRUE(std::is_sorted(measured.parts.begin(), measured.parts.end(),
                             [](const StepPart& a, const StepPart& b) { return a.seconds > b.seconds; }));
  // AdamW has two moments of every weight.
  const auto peak = [&](Purpose purpose) { return measured.memory.peak[static_cast<size_t>(purpose)]; };
  EXPECT_EQ(peak(Purpose::Optimizer), 2 * peak(Purpose::Gradients));
  EXPECT_GT(peak(Purpose::Activations), 0);
  EXPECT_GE(measured.resident_peak_bytes, measured.memory.reserved_peak / 2);
  // A random model knows nothing: about ln(vocab).
  EXPECT_NEAR(measured.loss, std::log(50.0), 0.5);
}

TEST(Bench, ALossThatIsNotFiniteIsAnErrorNotATime) {
  StepBenchmark settings{.model = tiny_model(AttentionType::Gqa),
                         .optimizer = {},
                         .micro_batch = 1,
                         .sequence = 8,
                         .steps = 5,
                         .warmup_steps = 0,
                         .dtype = DType::F32,
                         .device = {}};
  settings.optimizer.learning_rate = 1e30;
  EXPECT_THROW(measure_step(settings), Error);
}

}  // namespace
}  // namespace gta
