// Every variant, dtype and recompute mode through the training loop, and what watches and widens a run.
#include <fmt/format.h>
#include <cmath>

#include "core/error.h"
#include "launch/metrics.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

const char* const kTypes[] = {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"};

class WideTraining : public SmallRun {};

TEST_F(WideTraining, EveryVariantTrainsResumesFromItsOwnConfigurationAndGenerates) {
  for (const char* type : kTypes) {
    const std::string run = folder_ + "/" + type, set = std::string(" --set model.attention.type=") + type;
    ASSERT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + run + set), 0) << type << ": " << errors();
    // The resolved configuration has every key of every variant, given or not.
    ASSERT_EQ(gta("train " + run + "/config.yaml --run-dir " + run + " --set train.steps=14"), 0)
        << type << ": " << errors();
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).position().step, 14) << type;
    EXPECT_EQ(gta("generate " + run + " --prompt abc --max-tokens 5"), 0) << type << ": " << errors();
  }
  // A configuration without the others' keys is written out and read again too.
  std::string text = read_file(folder_ + "/run.yaml");
  const size_t head_dim = text.find("  head_dim: 8\n"), attention = text.find("  attention: {");
  ASSERT_NE(head_dim, std::string::npos);
  text.replace(attention, text.find('}', attention) + 1 - attention,
               "  attention: {type: mla, kv_lora_rank: 12, nope_dim: 8, rope_dim: 4, value_dim: 8}");
  text.erase(head_dim, std::string("  head_dim: 8\n").size());
  publish_text(folder_ + "/mla.yaml", text);
  ASSERT_EQ(gta("train " + folder_ + "/mla.yaml --run-dir " + folder_ + "/mla-alone"), 0) << errors();
  ASSERT_EQ(gta("train " + folder_ + "/mla-alone/config.yaml --run-dir " + folder_ + "/mla-alone --set train.steps=14"),
            0)
      << errors();
  EXPECT_EQ(gta("generate " + folder_ + "/mla-alone --prompt abc --max-tokens 5"), 0) << errors();
}

TEST_F(WideTraining, RecomputeAndThreadsChangeNoBitOfAnyVariantInFloat32AndBfloat16) {
  for (const char* type : {"mha", "gqa", "mla", "gva", "gha", "gta"})
    for (const char* dtype : {"float32", "bfloat16"}) {
      const std::string set =
          fmt::format(" --set train.steps=4 --set model.attention.type={} --set train.dtype={}", type, dtype);
      const auto run = [&](const std::string& name, const std::string& options) {
        const std::string folder = fmt::format("{}-{}-{}", type, dtype, name);
        EXPECT_EQ(gta("train " + folder_ + "/run.yaml" + set + options + " --run-dir " + folder_ + "/" + folder), 0)
            << errors();
        return weights(folder);
      };
      const std::string plain = run("plain", " --threads 1");
      EXPECT_EQ(plain, run("elementwise", " --threads 2 --set train.recompute=elementwise")) << type << " " << dtype;
      EXPECT_EQ(plain, run("block", " --threads 3 --set train.recompute=block")) << type << " " << dtype;
    }
}

TEST_F(WideTraining, AnAutomaticMicroBatchStaysWhatItWasOnResume) {
  const std::string set = " --set train.micro_batch_size=auto --run-dir " + folder_ + "/auto";
  ASSERT_EQ(gta("train " + folder_ + "/run.yaml --set train.steps=3" + set), 0) << errors();
  // the whole of a small global batch
  EXPECT_NE(read_file(folder_ + "/auto/config.yaml").find("micro_batch_size: 4\n"), std::string::npos);
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --set train.steps=5" + set), 0) << errors();
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/auto")).position().step, 5);
}

TEST_F(WideTraining, DiagnosticsAreOneRowOfMetricsWithEveryLayer) {
  ASSERT_EQ(train(load({"train.diagnose_every_steps=5"}), options("diagnosed")).outcome, TrainOutcome::Finished);
  std::vector<int64_t> steps;
  for (const MetricsRow& row : read_metrics(folder_ + "/diagnosed/metrics.jsonl"))
    if (const auto* diagnosis = std::get_if<DiagnosisRow>(&row)) {
      steps.push_back(diagnosis->step);
      for (const char* key :
           {"gradient_norm/layers.1", "weight_norm/embed_tokens", "weight_norm/norm", "update_norm/embed_tokens",
            "stream_rms/layers.0", "largest_score/layers.1", "map_entropy/layers.0", "map_similarity/layers.1",
            "key_rank/layers.0", "value_rank/layers.1", "latent_rank/layers.0"})
        EXPECT_TRUE(diagnosis->values.count(key) && std::isfinite(diagnosis->values.at(key))) << key;
    }
  EXPECT_EQ(steps, (std::vector<int64_t>{5, 10}));  // of 12
}

TEST_F(WideTraining, ATrainedModelTakesALongerContextAndRefusesAnotherShape) {
  ASSERT_EQ(train(load(), options("long")).outcome, TrainOutcome::Finished);
  const std::string model = folder_ + "/long";
  EXPECT_EQ(gta("generate " + model +
                " --prompt abc --max-tokens 40 --set model.rope_theta=50000 --set model.max_sequence_length=64 --set "
                "train.dtype=bfloat16"),
            0)
      << errors();
  EXPECT_EQ(gta("generate " + model + " --prompt abc --set model.layers=3"), 2);
  EXPECT_NE(errors().find("model.layers cannot be changed for a trained model"), std::string::npos) << errors();
}

}  // namespace
}  // namespace gta
