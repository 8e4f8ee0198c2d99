// The training loop on a CUDA device: near the CPU, the same bits whatever is recomputed and wherever it was interrupted, and one checkpoint for both.
#include <fmt/format.h>

#include <sstream>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/gemm.h"
#include "launch/plan.h"
#include "tests/cuda_device.h"
#include "tests/launch/small_run.h"

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

// Six steps with AdamW, which enlarges rounding where gradients are near zero: float32 within 1e-4, bfloat16 as far as its three digits go.
TEST_F(CudaTraining, FollowsTheCpu) {
  for (const char* type : {"mha", "gqa", "mla", "gva", "gha", "gta"})
    for (const auto& [dtype, tolerance] : {std::pair{"float32", 1e-4}, {"bfloat16", 2e-2}}) {
      const std::string options = fmt::format(" --set train.steps=6 --set model.attention.type={} --set train.dtype={}", type, dtype);
      const std::string name = fmt::format("{}-{}", type, dtype);
      ASSERT_EQ(train_on("cuda", name + "-cuda", options), 0) << errors();
      ASSERT_EQ(train_on("cpu", name + "-cpu", options), 0) << errors();
      const std::vector<double> got = losses(name + "-cuda"), expected = losses(name + "-cpu");
      ASSERT_EQ(got.size(), 6u) << name;
      ASSERT_EQ(expected.size(), 6u) << name;
      for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(got[i], expected[i], tolerance * expected[i]) << name << " step " << i + 1;
    }
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
  const std::string line = fmt::format("workspace {:.0f}: {:.0f} MiB of the device's; saving {:.0f} MiB of the CPU's", plan.workspace / mib,
                                       plan.total / mib, plan.checkpoint_staging / mib);
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
  ASSERT_EQ(train_on("cuda", "interrupted", options + " --set optimizer.schedule.type=constant --set train.steps=3"), 0) << errors();
  ASSERT_EQ(train_on("cuda", "interrupted", options + " --set optimizer.schedule.type=constant"), 0) << errors();
  ASSERT_EQ(train_on("cuda", "whole", options + " --set optimizer.schedule.type=constant"), 0) << errors();
  EXPECT_EQ(weights("interrupted"), weights("whole"));
  ASSERT_EQ(gta("eval " + folder_ + "/plain --device cpu --data " + folder_ + "/shards/train-00000.h5 --json"), 0) << errors();
  ASSERT_EQ(gta("generate " + folder_ + "/plain --device cuda --prompt abc --max-tokens 4 --temperature 0"), 0) << errors();
}

}  // namespace
}  // namespace gta
