// What plan says a step holds is what it holds, and what it counts is what the formulas say.
#include "launch/plan.h"

#include <gtest/gtest.h>

#include <latch>
#include <map>
#include <optional>
#include <thread>

#include "core/allocator.h"
#include "core/comm/data_parallel.h"
#include "core/comm/thread_transport.h"
#include "core/gemm.h"
#include "core/parallel.h"
#include "launch/config/config.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"
#include "tests/cuda_device.h"

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
  config.attention.value_heads = 4;
  return config;
}

int64_t held_at_peak(const MemoryReport& report, Purpose purpose) { return report.at_peak[static_cast<int>(purpose)]; }

// What two training steps held of the device's memory at most; `before`: what other things held already.
MemoryReport report_of_steps(const ModelConfig& config, const TrainingShape& shape, const Device& device,
                             int64_t& before) {
  release_pooled_memory(device);
  before = memory_report(device).total_in_use();
  ParameterSpace space;
  const CausalLm model(space, config);
  space.allocate(shape.dtype, device, SpaceUse::Training);
  space.initialize(1);
  release_pooled_memory(device);  // as the trainer does
  reset_memory_peak(device);
  AdamW optimizer(space, OptimizerConfig{});
  const Shape tokens_of{shape.micro_batch, shape.sequence_length};
  const auto zeros = [&](const Shape& of) { return Tensor::zeros(of, DType::I32, Device{}, Purpose::Data); };
  const Tensor tokens = zeros(tokens_of), labels = zeros(tokens_of),
               starts = shape.document_mask ? zeros({tokens_of.elements()}) : Tensor{};
  for (int i = 0; i < 2; ++i) {
    Tape tape(TapeMode::Recording, shape.recompute);
    const Tensor loss = model.loss(tape, tokens, labels, 1.0 / static_cast<double>(tokens.elements()), starts);
    tape.backward(loss);
    optimizer.step(1e-3, optimizer.sum_of_squares(), loss);
  }
  return memory_report(device);
}

testing::AssertionResult within_five_per_cent(int64_t planned, int64_t held) {
  if (std::abs(static_cast<double>(planned - held)) <= 0.05 * static_cast<double>(held))
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << planned << " planned, " << held << " held";
}

struct PlannedCase {
  AttentionType type;
  DType dtype = DType::F32;
  Recompute recompute = Recompute::None;
  int64_t micro_batch = 4;
  bool tied = false, document_mask = false;
};

// Twenty of them: each variant, dtype and mode, micro-batches of 1 to 8, tied or not.
std::vector<PlannedCase> planned_cases() {
  using A = AttentionType;
  using R = Recompute;
  return {{A::Gta},
          {A::Gta, DType::BF16},
          {A::Gta, DType::F32, R::Elementwise, 8},
          {A::Gta, DType::BF16, R::Elementwise, 1, true},
          {A::Gta, DType::F32, R::Block, 2, true},
          {A::Gta, DType::BF16, R::Block, 8, false, true},
          {A::Gqa, DType::F32, R::None, 1},
          {A::Gqa, DType::BF16, R::Elementwise, 4, true},
          {A::Gqa, DType::F32, R::Block, 8},
          {A::Mla, DType::F32, R::None, 2, true},
          {A::Mla, DType::BF16},
          {A::Mla, DType::F32, R::Elementwise, 3, true},
          {A::Mla, DType::BF16, R::Block},
          {A::Mha, DType::F32, R::None, 4, true, true},
          {A::Mha, DType::BF16, R::Block, 2},
          {A::Mqa, DType::F32, R::Elementwise, 4},
          {A::Gva, DType::F32, R::None, 4, true},
          {A::Gva, DType::BF16, R::Block, 1},
          {A::Gha, DType::F32, R::Elementwise, 2},
          {A::Gha, DType::BF16, R::None, 4, true}};
}

std::string describe(const PlannedCase& c) {
  return fmt::format("{} {} {} micro-batch {}{}{}", name_of(c.type), name_of(c.dtype), name_of(c.recompute),
                     c.micro_batch, c.tied ? " tied" : "", c.document_mask ? " masked" : "");
}

TrainingShape shape_of(const PlannedCase& c, DeviceType device) {
  return {.sequence_length = 128,
          .micro_batch = c.micro_batch,
          .dtype = c.dtype,
          .recompute = c.recompute,
          .device = device,
          .document_mask = c.document_mask};
}

void expect_parts_add_up(const MemoryPlan& plan) {
  EXPECT_EQ(plan.peak, plan.parameters + plan.gradients + plan.optimizer + plan.activations + plan.workspace +
                           plan.data + plan.kept_for_reuse);
  EXPECT_GT(plan.activations, 0) << "of a step's widest moment";
}

TEST(Plan, OfMemoryIsWithinFivePerCentOfWhatAStepHolds) {
  ASSERT_EQ(planned_cases().size(), 20u);
  for (const PlannedCase& c : planned_cases()) {
    SCOPED_TRACE(describe(c));
    ModelConfig config = model_of(c.type);
    config.tie_embeddings = c.tied;
    const TrainingShape shape = shape_of(c, DeviceType::Cpu);
    const MemoryPlan plan = plan_memory(config, shape);
    int64_t before = 0;
    const MemoryReport report = report_of_steps(config, shape, Device{}, before);
    EXPECT_EQ(plan.gradients, held_at_peak(report, Purpose::Gradients));
    EXPECT_EQ(plan.optimizer, held_at_peak(report, Purpose::Optimizer));
    EXPECT_TRUE(within_five_per_cent(plan.parameters, held_at_peak(report, Purpose::Parameters)));
    EXPECT_TRUE(within_five_per_cent(plan.activations, held_at_peak(report, Purpose::Activations)));
    EXPECT_TRUE(within_five_per_cent(plan.peak, report.reserved_peak - before));
    EXPECT_EQ(plan.total, plan.peak + plan.checkpoint_staging);
    EXPECT_EQ(plan.pinned, 0);
    expect_parts_add_up(plan);
  }
}

// What each of several ranks, threads of this process, has taken when it has trained a step with the others.
MemoryReport taken_by_ranks(const ModelConfig& config, const TrainingShape& shape) {
  const int64_t ranks = shape.share.ranks;
  release_pooled_memory(Device{});
  const MemoryReport before = memory_report(Device{});
  Meeting meeting(ranks);
  std::latch here(ranks + 1), seen(1);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      std::optional<Communicator> communicator;
      ranks > 1 ? communicator.emplace(meeting.join(rank)) : communicator.emplace();
      ParameterSpace space;
      const CausalLm model(space, config);
      RankShare share = shape.share;
      share.rank = rank;
      space.allocate(shape.dtype, Device{}, SpaceUse::Training, share);
      AdamW optimizer(space, OptimizerConfig{});
      DataParallel parallel(space, *communicator);
      {
        const Tensor tokens =
            Tensor::zeros({shape.micro_batch, shape.sequence_length}, DType::I32, Device{}, Purpose::Data);
        Tape tape(TapeMode::Recording, shape.recompute, parallel.gradients_complete());
        tape.backward(model.loss(tape, tokens, tokens, 1.0));
      }
      parallel.finish_gradients();
      parallel.begin_weights();
      parallel.finish_weights();
      here.arrive_and_wait();
      seen.wait();
      communicator->finish();
    });
  here.arrive_and_wait();
  MemoryReport report = memory_report(Device{});
  seen.count_down();
  for (std::thread& thread : threads) thread.join();
  for (size_t purpose = 0; purpose < report.in_use.size(); ++purpose) report.in_use[purpose] -= before.in_use[purpose];
  return report;
}

TEST(Plan, OfARankIsWhatItTakes) {
  const auto taken_of = [](const MemoryReport& report, Purpose purpose) {
    return report.in_use[static_cast<size_t>(purpose)];
  };
  for (DType dtype : {DType::F32, DType::BF16})
    for (Sharding sharding : {Sharding::Optimizer, Sharding::None})
      for (AttentionType type : {AttentionType::Gta, AttentionType::Mla}) {
        const ModelConfig config = model_of(type);
        TrainingShape shape{.sequence_length = 128, .dtype = dtype};
        const MemoryPlan alone = plan_memory(config, shape);
        const MemoryReport taken_alone = taken_by_ranks(config, shape);
        for (int64_t ranks = 1; ranks <= 3; ++ranks) {
          SCOPED_TRACE(fmt::format("{} {} {} ranks, {}", name_of(type), name_of(dtype), ranks, name_of(sharding)));
          shape.share = {0, ranks, sharding, 1 << 20};
          const MemoryReport taken = taken_by_ranks(config, shape);
          MemoryPlan all;
          int64_t largest = 0, lead = 0;
          for (int64_t rank = 0; rank < ranks; ++rank) {
            shape.share.rank = rank;
            const MemoryPlan plan = plan_memory(config, shape);
            all.parameters += plan.parameters;
            all.gradients += plan.gradients;
            all.optimizer += plan.optimizer;
            all.workspace += plan.workspace - alone.workspace;  // the communicator's
            all.checkpoint_staging += plan.checkpoint_staging;
            largest = std::max(largest, plan.total);
            if (rank == 0) lead = plan.total;
          }
          EXPECT_EQ(all.parameters, taken_of(taken, Purpose::Parameters));
          EXPECT_EQ(all.gradients, taken_of(taken, Purpose::Gradients));
          EXPECT_EQ(all.optimizer, taken_of(taken, Purpose::Optimizer));
          EXPECT_EQ(all.workspace,
                    taken_of(taken, Purpose::Workspace) - ranks * taken_of(taken_alone, Purpose::Workspace));
          EXPECT_EQ(lead, largest) << "what a training is planned by";
          EXPECT_NEAR(static_cast<double>(all.checkpoint_staging), static_cast<double>(alone.checkpoint_staging),
                      0.01 * static_cast<double>(alone.checkpoint_staging))
              << "each element is saved by one rank";
        }
      }
}

// Where the attention's own memory, partial sums and scores, is most of a step's.
TEST(Plan, OfALongSequenceIsWithinTenPerCentOfWhatAStepHolds) {
  for (AttentionType type : {AttentionType::Gta, AttentionType::Mha})
    for (DType dtype : {DType::F32, DType::BF16}) {
      SCOPED_TRACE(std::string(name_of(type)) + " " + name_of(dtype));
      ModelConfig config = model_of(type);
      config.layers = 1;
      config.max_sequence_length = 4096;
      const TrainingShape shape{.sequence_length = 4096, .micro_batch = 1, .dtype = dtype};
      const MemoryPlan plan = plan_memory(config, shape);
      int64_t before = 0;
      const MemoryReport report = report_of_steps(config, shape, Device{}, before);
      const int64_t held = report.reserved_peak - before;
      EXPECT_NEAR(static_cast<double>(plan.peak), static_cast<double>(held), 0.1 * static_cast<double>(held));
      EXPECT_GT(plan.workspace, plan.activations / 5) << "or this proves nothing";
    }
}

// Scores are little beside the rest where threads are few, and as much where they are many.
TEST(Plan, HasRoomForTheScoresOfEveryThread) {
  ModelConfig config = model_of(AttentionType::Mha);
  config.layers = 1;
  const auto workspace_with = [&](int count) {
    const int before = threads();
    set_threads(count);
    const int64_t bytes = plan_memory(config, {.sequence_length = 4096, .dtype = DType::F32}).workspace;
    set_threads(before);
    return bytes;
  };
  // With so many threads that the attention is where a step has the most.
  const int64_t eight = workspace_with(8), four_more = workspace_with(12) - eight, row = 4096 * sizeof(float);
  EXPECT_GT(four_more, 0);
  EXPECT_EQ(four_more % (4 * 2 * row), 0) << "of a map's rows and of their gradients";
  EXPECT_EQ(workspace_with(16) - eight, 2 * four_more);
}

// Layers are alike, so a plan plays no more of them than it needs: twice as many add twice as much.
TEST(Plan, OfVeryDeepModelsGoesOnInAStraightLine) {
  const auto plan_of = [](int64_t layers, Recompute recompute) {
    ModelConfig config = model_of(AttentionType::Gta);
    config.layers = layers;
    return plan_memory(config, {.sequence_length = 256, .micro_batch = 3, .recompute = recompute});
  };
  for (Recompute recompute : {Recompute::None, Recompute::Elementwise, Recompute::Block}) {
    SCOPED_TRACE(name_of(recompute));
    const MemoryPlan played = plan_of(512, recompute), before = plan_of(256, recompute),
                     after = plan_of(513, recompute), far = plan_of(1024, recompute);
    const auto near = [](int64_t a, int64_t b) {
      return std::abs(static_cast<double>(a - b)) <= 1e-3 * static_cast<double>(b);
    };
    EXPECT_TRUE(near(after.peak - played.peak, (played.peak - before.peak) / 256))
        << after.peak << " " << played.peak << " " << before.peak;
    EXPECT_TRUE(near(far.activations - played.activations, 2 * (played.activations - before.activations)));
    EXPECT_TRUE(near(far.gradients, 2 * played.gradients));
    EXPECT_TRUE(near(plan_of(384, recompute).peak, (played.peak + before.peak) / 2)) << "the line is a line";
    EXPECT_EQ(far.total, far.peak + far.checkpoint_staging);
  }
}

// Each of these went on for minutes or for ever.
TEST(Plan, AnswersOrRefusesWhateverIsAsked) {
  const auto planned = [](const ModelConfig& config, const TrainingShape& shape) -> int64_t {
    try {
      return plan_memory(config, shape).total;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      EXPECT_NE(std::string(error.what()).find("lower"), std::string::npos) << error.what();
      return -1;
    }
  };
  const ModelConfig small = model_of(AttentionType::Gta);
  const int64_t tokens = int64_t{1} << 40;
  EXPECT_GT(planned(small, {.sequence_length = 1 << 24, .micro_batch = 1 << 16}),
            tokens * small.hidden_size * small.layers * 4);
  EXPECT_EQ(planned(small, {.sequence_length = 1 << 24, .micro_batch = 1 << 20, .dtype = DType::F64}), -1)
      << "more than 2^62 bytes";
  EXPECT_EQ(largest_micro_batch(small, {.sequence_length = 1 << 24}, int64_t{64} << 30), 0);
  ModelConfig deep = small;
  deep.layers = 10000;
  EXPECT_GT(planned(deep, {.sequence_length = 1 << 20}), int64_t{10000} * (1 << 20) * small.hidden_size * 4);
  ModelConfig wide = small;
  wide.hidden_size = 1 << 20;
  wide.intermediate_size = 1 << 22;
  wide.layers = 10000;
  wide.heads = wide.head_dim = 65536;
  EXPECT_EQ(planned(wide, {.sequence_length = 1 << 24}), -1);
  // Each weight has a number of elements; all of them together have none.
  ModelConfig vast = wide;
  vast.intermediate_size = int64_t{1} << 36;
  try {
    plan_model(vast, 1);
    ADD_FAILURE() << "more than 2^58 parameters were counted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
    EXPECT_NE(std::string(error.what()).find("makes more than 2^58 parameters: lower the model's sizes"),
              std::string::npos)
        << error.what();
  }
  ModelConfig maps = small;
  maps.layers = 100;
  maps.heads = maps.attention.query_heads = 65536;
  maps.head_dim = 32;
  EXPECT_GT(planned(maps, {.sequence_length = 1}), 0);
}

// 512 tokens of a vocabulary so large that the CPU takes them in two chunks and a GPU in one.
ModelConfig model_of_large_vocabulary(AttentionType type) {
  ModelConfig config = model_of(type);
  config.layers = 4;
  config.hidden_size = 64;
  config.vocab_size = 16384;
  return config;
}
constexpr int64_t kChunk = 512 * 16384, kLosses = 512 * 2 * 8;
// An update's seven numbers and the two sums of a loss; the CPU's allocator rounds small blocks up.
constexpr int64_t kNumbers = (7 + 2) * 8, kNumbersOfCpu = 2 * 512;

TEST(Plan, ForAGpuNeedsNoneAndCountsItsChunkOfLogitsAndItsProductsMemory) {
  TrainingShape shape{.sequence_length = 128, .micro_batch = 4};
  const ModelConfig config = model_of_large_vocabulary(AttentionType::Gta);
  const MemoryPlan cpu = plan_memory(config, shape);
  EXPECT_EQ(cpu.workspace, kChunk / 2 * 4 + kLosses + kNumbersOfCpu);
  shape.device = DeviceType::Cuda;
  const MemoryPlan cuda = plan_memory(config, shape);
  EXPECT_EQ(cuda.workspace, (32 << 20) + kChunk * 4 + kLosses + kNumbers);
  EXPECT_EQ(cuda.total, cuda.peak) << "copies for a checkpoint lie in the CPU's memory";
  shape.dtype = DType::BF16;
  EXPECT_EQ(plan_memory(config, shape).workspace, (32 << 20) + kChunk * (4 + 2) + kLosses + kNumbers);
}

TEST(Plan, OfCudaMemoryIsWithinFivePerCentOfWhatAStepHolds) {
  GTA_NEEDS_CUDA();
  for (const PlannedCase& c : planned_cases()) {
    SCOPED_TRACE(describe(c));
    ModelConfig config = model_of_large_vocabulary(c.type);
    config.vocab_size /= 8;  // 512 tokens still have as many logits as activations
    config.tie_embeddings = c.tied;
    const TrainingShape shape = shape_of(c, DeviceType::Cuda);
    const MemoryPlan plan = plan_memory(config, shape);
    // The products' own memory is there from the first one on.
    const int64_t of_products = memory_report(*cuda_device()).in_use[static_cast<int>(Purpose::Workspace)];
    int64_t before = 0;
    const MemoryReport report = report_of_steps(config, shape, *cuda_device(), before);
    EXPECT_EQ(plan.parameters, held_at_peak(report, Purpose::Parameters));
    EXPECT_EQ(plan.gradients, held_at_peak(report, Purpose::Gradients));
    EXPECT_EQ(plan.optimizer, held_at_peak(report, Purpose::Optimizer));
    EXPECT_EQ(plan.workspace, held_at_peak(report, Purpose::Workspace));
    EXPECT_TRUE(within_five_per_cent(plan.activations, held_at_peak(report, Purpose::Activations)));
    EXPECT_TRUE(within_five_per_cent(plan.peak - kCudaGemmWorkspaceBytes,
                                     report.reserved_peak - before + of_products - kCudaGemmWorkspaceBytes));
    EXPECT_EQ(plan.total, plan.peak) << "copies for a checkpoint lie in the CPU's memory";
    EXPECT_EQ(plan.pinned, plan.checkpoint_staging) << "so few are pinned";
    expect_parts_add_up(plan);
  }
}

// What a GPU's saves take of the host stands apart; more than is pinned is staged.
TEST(Plan, OfALargeModelStagesWhatIsNotPinned) {
  ModelConfig config = model_of(AttentionType::Gta);
  config.hidden_size = config.intermediate_size = 8192;
  const MemoryPlan plan = plan_memory(config, {.sequence_length = 128, .device = DeviceType::Cuda});
  EXPECT_EQ(plan.checkpoint_staging, plan.gradients + plan.optimizer);
  EXPECT_EQ(plan.pinned, int64_t{16} << 30);
  EXPECT_GT(plan.checkpoint_staging, plan.pinned);
  EXPECT_EQ(plan.total, plan.peak);
}

TEST(Plan, TableHasWhatFitsAndItsLargest) {
  const ModelConfig config = model_of(AttentionType::Gta);
  TrainingShape shape{.sequence_length = 64};
  const int64_t bytes = int64_t{256} << 20, global = 24;
  const FitTable table = fit_table(config, shape, global, bytes);
  ASSERT_FALSE(table.rows.empty());
  int64_t before = 0;
  for (const FitRow& row : table.rows) {
    EXPECT_GT(row.micro_batch, before);
    EXPECT_EQ(global % row.micro_batch, 0);
    before = row.micro_batch;
    for (size_t i = 0; i < kRecomputeModes.size(); ++i) {
      shape.micro_batch = row.micro_batch;
      shape.recompute = kRecomputeModes[i];
      EXPECT_EQ(row.total[i], plan_memory(config, shape).total);
      EXPECT_EQ(row.total[i] <= bytes, row.micro_batch <= table.largest[i]);
    }
  }
  EXPECT_LE(table.largest[0], table.largest[1]);
  EXPECT_LT(table.largest[0], table.largest[2]) << "or this proves little";
  EXPECT_TRUE(fit_table(config, shape, global, 1 << 20).rows.empty());
  EXPECT_GT(fit_table(config, shape, 0, bytes).largest[2], global) << "of a model alone whatever fits";
}

TEST(Plan, LargestMicroBatchIsTheLastThatFits) {
  const ModelConfig config = model_of(AttentionType::Gta);
  TrainingShape shape{.sequence_length = 64};
  const int64_t bytes = int64_t{256} << 20, largest = largest_micro_batch(config, shape, bytes);
  shape.micro_batch = largest;
  EXPECT_LE(plan_memory(config, shape).total, bytes);
  shape.micro_batch = largest + 1;
  EXPECT_GT(plan_memory(config, shape).total, bytes);
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
  // Biases and norms do not multiply; the tied embedding does, as the head. A token sees half of the sequence on
  // average, itself included.
  const double multiplying =
      static_cast<double>(128256 * hidden + layers * (hidden * merged + decoder + output + 3 * hidden * 3584));
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
