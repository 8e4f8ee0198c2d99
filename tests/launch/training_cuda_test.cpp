// The training loop on a CUDA device: near the CPU, the same bits whatever is recomputed and wherever it was
// interrupted, and one checkpoint for both.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "checkpoints/reader.h"
#include "checkpoints/writer.h"
#include "core/error.h"
#include "core/gemm.h"
#include "launch/metrics.h"
#include "launch/plan.h"
#include "tests/cuda_device.h"
#include "tests/launch/small_run.h"
#ifdef GTA_CUDA_ON_HOST
#include "tests/host_cuda/waits.h"
#endif

namespace gta {
namespace {

class CudaTraining : public SmallRun {
 protected:
  void SetUp() override {
    GTA_NEEDS_CUDA();
    SmallRun::SetUp();
  }
  void TearDown() override {
    if (!folder_.empty()) SmallRun::TearDown();
  }
  int train_on(const std::string& device, const std::string& run, const std::string& options) {
    return gta("train " + folder_ + "/run.yaml --device " + device + " --run-dir " + folder_ + "/" + run + options);
  }
  std::vector<double> losses(const std::string& run) {
    std::istringstream rows(read_file(folder_ + "/" + run + "/metrics.jsonl"));
    std::vector<double> values;
    for (std::string row; std::getline(rows, row);)
      if (const auto json = nlohmann::json::parse(row); json.contains("loss")) values.push_back(json["loss"]);
    return values;
  }
};

// Six steps with AdamW, which enlarges rounding where gradients are near zero: float32 within 1e-4, bfloat16 as far as
// its three digits go.
TEST_F(CudaTraining, FollowsTheCpu) {
  for (const char* type : {"mha", "gqa", "mla", "gva", "gha", "gta"})
    for (const auto& [dtype, tolerance] : {std::pair{"float32", 1e-4}, {"bfloat16", 2e-2}}) {
      const std::string options =
          fmt::format(" --set train.steps=6 --set model.attention.type={} --set train.dtype={}", type, dtype);
      const std::string name = fmt::format("{}-{}", type, dtype);
      ASSERT_EQ(train_on("cuda", name + "-cuda", options), 0) << errors();
      ASSERT_EQ(train_on("cpu", name + "-cpu", options), 0) << errors();
      const std::vector<double> got = losses(name + "-cuda"), expected = losses(name + "-cpu");
      ASSERT_EQ(got.size(), 6u) << name;
      ASSERT_EQ(expected.size(), 6u) << name;
      for (size_t i = 0; i < 6; ++i)
        EXPECT_NEAR(got[i], expected[i], tolerance * expected[i]) << name << " step " << i + 1;
    }
}

#ifdef GTA_CUDA_ON_HOST
TEST_F(CudaTraining, WaitsForNothingButTheOutcomeOfTheStepBefore) {
  WatchedRun o = options("waits");
  o.device = "cuda";
  std::vector<host_cuda::Waits> at;
  o.before_update = [&](int64_t, ParameterSpace&) { at.push_back(host_cuda::waits()); };
  const LoadedRun run =
      load({"train.checkpoint.every_steps=0", "train.steps=9", "train.micro_batch_size=1", "data.document_mask=true"});
  EXPECT_EQ(train(run, o).outcome, TrainOutcome::Finished);
  ASSERT_EQ(at.size(), 9u);
  // The first two steps find their pinned memory. Nothing stops the others.
  for (size_t step = 3; step < at.size(); ++step) {
    EXPECT_EQ(at[step].whole, at[step - 1].whole) << "step " << step;
    EXPECT_EQ(at[step].events, at[step - 1].events + 1) << "step " << step;
  }
}
#endif

// Updates are queued while the save before them is on its way to the host.
TEST_F(CudaTraining, SavesWhileItTrainsTheBitsOfEveryStep) {
  const std::string options =
      " --set train.steps=6 --set train.checkpoint.every_steps=1 --set train.checkpoint.keep=6 --set "
      "train.checkpoint.asynchronous=";
  ASSERT_EQ(train_on("cuda", "beside", options + "true"), 0) << errors();
  ASSERT_EQ(train_on("cuda", "between", options + "false"), 0) << errors();
  for (int64_t step = 1; step <= 6; ++step) {
    const auto hashes = [&](const std::string& run) {
      std::vector<uint64_t> of_entries;
      const Checkpoint checkpoint =
          Checkpoint::open(fmt::format("{}/{}/checkpoints/{}", folder_, run, checkpoint_name(step)));
      for (const Checkpoint::Entry& entry : checkpoint.entries()) of_entries.push_back(entry.hash);
      return of_entries;
    };
    EXPECT_EQ(hashes("beside"), hashes("between")) << "step " << step;
  }
}

#ifdef GTA_CUDA_ON_HOST
TEST_F(CudaTraining, DiagnosesWhereTheNumbersAre) {
  WatchedRun o = options("diagnosed");
  o.device = "cuda";
  std::vector<int64_t> bytes;
  o.before_update = [&](int64_t, ParameterSpace&) { bytes.push_back(host_cuda::waits().bytes); };
  const LoadedRun run = load({"train.checkpoint.every_steps=0", "train.steps=4", "train.diagnose_every_steps=3"});
  EXPECT_EQ(train(run, o).outcome, TrainOutcome::Finished);
  ASSERT_EQ(bytes.size(), 4u);
  // A norm, or the scores of some blocks, and what the maps of 32 rows are made of: in each of 2 layers 16 numbers of
  // the queries, 8 of the keys, twice 8 of the latents, and a decoder of 16 x 16.
  EXPECT_LT(bytes[2] - bytes[1], 1024 + 2 * 4 * (32 * (16 + 8 + 8 + 8) + 16 * 16));
  EXPECT_LT(bytes[3] - bytes[2], 1024);
}
#endif

// Near the CPU's, in both types.
TEST_F(CudaTraining, DiagnosesLikeTheCpu) {
  for (const auto& [dtype, tolerance] : {std::pair{"float32", 1e-4}, {"bfloat16", 2e-2}}) {
    const auto diagnosed = [&](const std::string& device) {
      const std::string run = fmt::format("diagnosed-{}-{}", device, dtype);
      EXPECT_EQ(
          train_on(device, run,
                   fmt::format(" --set train.steps=2 --set train.diagnose_every_steps=1 --set train.dtype={}", dtype)),
          0)
          << errors();
      std::map<std::string, double> values;
      for (const MetricsRow& row : read_metrics(folder_ + "/" + run + "/metrics.jsonl"))
        if (const auto* diagnosis = std::get_if<DiagnosisRow>(&row))
          for (const auto& [key, value] : diagnosis->values)
            values[fmt::format("{} of step {}", key, diagnosis->step)] = value;
      return values;
    };
    const std::map<std::string, double> got = diagnosed("cuda"), expected = diagnosed("cpu");
    EXPECT_GT(expected.size(), 20u);
    ASSERT_EQ(got.size(), expected.size());
    for (const auto& [key, value] : expected)
      EXPECT_NEAR(got.at(key), value, tolerance * value) << key << " in " << dtype;
  }
}

// A skipped step is known of one step late, and counted all the same.
TEST_F(CudaTraining, SkipsWhatIsNotFinite) {
  for (const bool in_loss : {false, true}) {
    WatchedRun o = options(in_loss ? "bad-loss" : "bad-gradient");
    o.device = "cuda";
    std::vector<float> before;
    const Tensor nan = Tensor::from<float>({1}, {NAN});
    o.with_loss = [&](int64_t step, const Tensor& losses) {
      if (in_loss && step == 5) losses.column_slice(0, 1).copy_from(Tensor::from<double>({1}, {NAN}));
    };
    o.before_update = [&](int64_t step, ParameterSpace& space) {
      if (step == 5) {
        before = space.values(ParameterKind::Matrix).to_vector<float>();
        if (!in_loss) space.gradients(ParameterKind::Vector).column_slice(3, 1).copy_from(nan);
      }
      if (step == 6) {
        EXPECT_EQ(before, space.values(ParameterKind::Matrix).to_vector<float>());
      }
    };
    EXPECT_EQ(train(load(), o).outcome, TrainOutcome::Finished);
    const TrainingPosition position = Checkpoint::open(resolve_checkpoint(o.run_dir)).position();
    EXPECT_EQ(position.skipped_steps, 1);
    EXPECT_EQ(position.updates, 11);
    EXPECT_EQ(position.step, 12);
  }
  WatchedRun o = options("diverged");
  o.device = "cuda";
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step >= 4)
      space.gradients(ParameterKind::Matrix).column_slice(0, 1).copy_from(Tensor::from<float>({1}, {INFINITY}));
  };
  EXPECT_THROW(train(load({"train.max_skipped_steps=2"}), o), Error);
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, 3);
}

TEST_F(CudaTraining, AnnouncesWhatTheDeviceHolds) {
  ASSERT_EQ(train_on("cuda", "run", " --set train.steps=2 --set train.micro_batch_size=auto"), 0) << errors();
  const std::string said = read_file(folder_ + "/run/log.txt");
  RunConfig run = load().config;
  run.model.vocab_size = 320;
  run.train.micro_batch_size = run.train.global_batch_size;  // all of it fits
  constexpr double mib = 1 << 20;
  const MemoryPlan plan = plan_memory(run.model, training_shape(run, DeviceType::Cuda));
  EXPECT_GT(plan.workspace, kCudaGemmWorkspaceBytes);
  const std::string line = fmt::format("workspace {:.0f}: {:.0f} MiB of the device's; saving {:.0f} MiB of the CPU's",
                                       plan.workspace / mib, plan.total / mib, plan.checkpoint_staging / mib);
  EXPECT_NE(said.find(line), std::string::npos) << said << "\nexpected: " << line;
  EXPECT_NE(read_file(folder_ + "/run/config.yaml").find("micro_batch_size: 4"), std::string::npos);
}

TEST_F(CudaTraining, GivesTheSameBitsRecomputedOrInterrupted) {
  const std::string options = " --set train.steps=6 --set train.dtype=bfloat16 --set train.z_loss=0.0001";
  ASSERT_EQ(train_on("cuda", "plain", options), 0) << errors();
  ASSERT_EQ(train_on("cuda", "again", options), 0) << errors();
  EXPECT_EQ(weights("plain"), weights("again"));
  for (const char* recompute : {"elementwise", "block"}) {
    ASSERT_EQ(train_on("cuda", recompute, options + " --set train.recompute=" + recompute), 0) << errors();
    EXPECT_EQ(weights("plain"), weights(recompute)) << recompute;
  }
  // A checkpoint from the middle, taken on by the same device, and read by the CPU.
  ASSERT_EQ(train_on("cuda", "interrupted", options + " --set optimizer.schedule.type=constant --set train.steps=3"), 0)
      << errors();
  ASSERT_EQ(train_on("cuda", "interrupted", options + " --set optimizer.schedule.type=constant"), 0) << errors();
  ASSERT_EQ(train_on("cuda", "whole", options + " --set optimizer.schedule.type=constant"), 0) << errors();
  EXPECT_EQ(weights("interrupted"), weights("whole"));
  ASSERT_EQ(gta("eval " + folder_ + "/plain --device cpu --data " + folder_ + "/shards/train-00000.h5 --json"), 0)
      << errors();
  ASSERT_EQ(gta("generate " + folder_ + "/plain --device cuda --prompt abc --max-tokens 4 --temperature 0"), 0)
      << errors();
}

}  // namespace
}  // namespace gta
