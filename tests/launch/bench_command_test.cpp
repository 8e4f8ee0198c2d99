// `gta bench` as a program sees it: one JSON object on standard output, and nothing else there.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/io/file.h"
#include "launch/config/config.h"
#include "launch/plan.h"
#include "tests/cuda_device.h"

namespace gta {
namespace {

using Json = nlohmann::json;

constexpr const char* kModel = R"(hidden_size: 32
layers: 2
intermediate_size: 48
heads: 4
head_dim: 8
vocab_size: 64
max_sequence_length: 32
attention: {type: gta, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 8, gate: silu}
)";

class BenchCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-bench-XXXXXX";
    folder_ = mkdtemp(pattern);
    publish_text(folder_ + "/model.yaml", kModel);
  }
  void TearDown() override { remove_tree(folder_); }

  // Exit code of `gta bench ARGUMENTS`, output() and errors() hold what it wrote.
  int bench(const std::string& arguments) {
    const int status = std::system(
        (std::string(GTA_BINARY) + " bench " + arguments + " >" + folder_ + "/out.txt 2>" + folder_ + "/err.txt")
            .c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string output() { return read_file(folder_ + "/out.txt"); }
  std::string errors() { return read_file(folder_ + "/err.txt"); }

  std::string folder_;
};

TEST_F(BenchCommandTest, AStepAsJsonAgreesWithItself) {
  ASSERT_EQ(
      bench("step " + folder_ + "/model.yaml --micro-batch 2 --sequence 16 --steps 3 --data-sheet-tflops 2 --json"), 0)
      << errors();
  const Json json = Json::parse(output());
  const ModelConfig model = load_model_config(folder_ + "/model.yaml", {});
  const Plan plan = plan_model(model, 16);
  EXPECT_EQ(json["attention"], "gta");
  EXPECT_EQ(json["dtype"], "float32");
  EXPECT_EQ(json["parameters"], plan.parameters);
  EXPECT_EQ(json["flops_per_token_training"], plan.flops_per_token_training);
  EXPECT_EQ(json["step_seconds"].size(), 3u);
  const double median = json["step_seconds_median"], tokens = json["tokens_per_second"],
               flops = json["model_flops_per_second"], peak = json["peak_flops_per_second"];
  EXPECT_DOUBLE_EQ(tokens, 2 * 16 / median);
  EXPECT_DOUBLE_EQ(flops, tokens * plan.flops_per_token_training);
  EXPECT_DOUBLE_EQ(json["sol"], flops / peak);
  EXPECT_DOUBLE_EQ(json["mfu"], flops / 2e12);
  double sum = 0;
  for (const Json& part : json["parts"]) sum += part["seconds"].get<double>();
  EXPECT_GT(sum, 0);
  for (const char* purpose : {"parameters", "gradients", "optimizer", "activations", "reserved"})
    EXPECT_GT(json["memory_peak_bytes"][purpose], 0) << purpose;
  const double planned = json["memory_peak_bytes"]["planned"], held = json["memory_peak_bytes"]["reserved"];
  EXPECT_NEAR(planned, held, 0.1 * held);
  EXPECT_GT(json["resident_peak_bytes"], 0);
  // What a peer is told is the same model.
  RunConfig told, given;
  told.model = parse_model_config(json["model"].dump(), "model");
  given.model = model;
  EXPECT_EQ(to_yaml(told), to_yaml(given));
}

TEST_F(BenchCommandTest, WithoutADataSheetThereIsNoMfu) {
  ASSERT_EQ(bench("step " + folder_ +
                  "/model.yaml --sequence 16 --steps 1 --warmup-steps 0 --dtype float64 --device cpu --json"),
            0)
      << errors();
  const Json json = Json::parse(output());
  EXPECT_FALSE(json.contains("mfu"));
  EXPECT_EQ(json["dtype"], "float64");
  ASSERT_EQ(bench("step " + folder_ + "/model.yaml --sequence 16 --steps 1"), 0) << errors();
  EXPECT_EQ(output().find("MFU"), std::string::npos) << output();
  EXPECT_NE(output().find("SOL"), std::string::npos) << output();
}

TEST_F(BenchCommandTest, OpsAsJsonHaveRatesAgainstTheMeasuredLimits) {
  ASSERT_EQ(bench("ops " + folder_ + "/model.yaml --sequence 16 --repeats 2 --only value_decoder --json"), 0)
      << errors();
  const Json json = Json::parse(output());
  ASSERT_EQ(json["rows"].size(), 2u);
  for (const Json& row : json["rows"]) {
    const double seconds = row["seconds_median"], flops = row["flops"], peak = json["peak_flops_per_second"],
                 bytes = row["bytes"], copy = json["copy_bytes_per_second"];
    EXPECT_EQ(row["calls_per_step"], 2);
    EXPECT_DOUBLE_EQ(row["of_peak"], flops / seconds / peak);
    EXPECT_DOUBLE_EQ(row["of_copy"], bytes / seconds / copy);
  }
}

TEST_F(BenchCommandTest, ARunsFileBringsItsOwnBatchSequenceAndDtype) {
  publish_text(folder_ + "/run.yaml", R"(name: tiny
model: model.yaml
data: {tokenizer: none.model, train: [none.h5], sequence_length: 8}
train: {steps: 10, global_batch_size: 6, micro_batch_size: 3, dtype: float64}
)");
  ASSERT_EQ(bench("step " + folder_ + "/run.yaml --steps 1 --device cpu --set model.attention.type=mha --json"), 0)
      << errors();
  const Json json = Json::parse(output());
  EXPECT_EQ(json["micro_batch_size"], 3);
  EXPECT_EQ(json["sequence_length"], 8);
  EXPECT_EQ(json["dtype"], "float64");
  EXPECT_EQ(json["attention"], "mha");
}

// With GPU or CPU behind the device, the output says which it was.
TEST_F(BenchCommandTest, DecodingAsJsonHasTheCacheThatTheVariantKeepsAndAPicture) {
  publish_text(folder_ + "/mha.yaml",
               std::string(kModel).replace(std::string(kModel).find("type: gta"), 9, "type: mha"));
  const std::string picture = folder_ + "/decode.svg";
  ASSERT_EQ(
      bench("decode " + folder_ + "/mha.yaml " + folder_ +
            "/model.yaml --device cpu --contexts 64,128 --sequences 1,3 --tokens 2 --longest-prefill 64 --json --svg " +
            picture),
      0)
      << errors();
  const Json json = Json::parse(output());
  ASSERT_EQ(json["models"].size(), 2u);
  for (const Json& model : json["models"]) {
    const ModelConfig config = load_model_config(folder_ + "/" + std::string(model["name"]) + ".yaml", {});
    const Plan plan = plan_model(config, 32);
    EXPECT_EQ(model["parameters"], plan.parameters);
    ASSERT_EQ(model["points"].size(), 4u);
    for (const Json& point : model["points"]) {
      const auto cached = static_cast<double>(point["context"]) * static_cast<double>(point["sequences"]);
      const double bytes = cached * static_cast<double>(plan.cache_numbers_per_token_and_layer * config.layers) * 4;
      // The allocator rounds each tensor up a little.
      EXPECT_NEAR(static_cast<double>(point["cache_bytes"]), bytes, 0.05 * bytes + 4096);
      EXPECT_GT(static_cast<double>(point["tokens_per_second"]), 0);
      EXPECT_GT(static_cast<double>(point["of_copy"]), 0);
      EXPECT_GT(static_cast<double>(point["of_read"]), 0);
      EXPECT_EQ(point.contains("prefill_seconds"), point["context"] == 64 && point["sequences"] == 1);
    }
  }
  EXPECT_NE(read_file(picture).find(">model</text>"), std::string::npos);
  EXPECT_EQ(bench("decode " + folder_ + "/model.yaml --device cpu --contexts 0"), 2);
  EXPECT_EQ(bench("decode " + folder_ + "/model.yaml --device cpu --dtype float64"), 2);
  EXPECT_EQ(bench("decode " + folder_ + "/model.yaml --device cpu --contexts 16777216 --sequences 1000"), 2);
  EXPECT_NE(errors().find("more than the 2147483647 that a cache counts"), std::string::npos) << errors();
  ASSERT_EQ(bench("decode " + folder_ + "/model.yaml --device cpu --contexts 64 --tokens 1 --weights int8"), 0)
      << errors();
  EXPECT_NE(output().find("with int8 weights"), std::string::npos);
}

TEST_F(BenchCommandTest, ACacheOfItsOwnDtypeIsCountedAsTheAllocatorHasIt) {
  const auto cache_of = [&](const std::string& options) {
    EXPECT_EQ(bench("decode " + folder_ + "/model.yaml --device cpu --contexts 4096 --tokens 1 --longest-prefill 0 " +
                    "--json " + options),
              0)
        << errors();
    const Json json = Json::parse(output());
    return std::pair(std::string(json["cache"]), static_cast<double>(json["models"][0]["points"][0]["cache_bytes"]));
  };
  const auto [as_computed, four] = cache_of("");
  const auto [rounded, two] = cache_of("--cache bfloat16");
  const auto [wide, again_four] = cache_of("--dtype bfloat16 --cache float32");
  EXPECT_EQ(as_computed, "float32");
  EXPECT_EQ(rounded, "bfloat16");
  EXPECT_EQ(wide, "float32");
  EXPECT_NEAR(two, four / 2, 0.05 * two);  // the allocator rounds each tensor up a little
  EXPECT_EQ(again_four, four);
  EXPECT_EQ(bench("decode " + folder_ + "/model.yaml --device cpu --cache float16"), 2);
  EXPECT_NE(errors().find("--cache: expected one of dtype, float32, bfloat16, got 'float16'"), std::string::npos)
      << errors();
}

TEST_F(BenchCommandTest, CudaIsMeasuredByWhatItIs) {
  GTA_NEEDS_CUDA();
  const std::string is = describe(*cuda_device());
  for (const std::string& command : {"step " + folder_ + "/model.yaml --steps 1 --warmup-steps 0",
                                     "ops " + folder_ + "/model.yaml --repeats 1 --only shared_map_attention"}) {
    ASSERT_EQ(bench(command + " --device cuda --sequence 16 --dtype bfloat16 --json"), 0) << errors();
    const Json json = Json::parse(output());
    EXPECT_EQ(json["device"], "cuda:0");
    EXPECT_EQ(json["device_description"], is);
    ASSERT_EQ(bench(command + " --device cuda --sequence 16"), 0) << errors();
    EXPECT_NE(output().find("float32 on cuda:0 (" + is + ")"), std::string::npos) << output();
#ifdef GTA_CUDA_ON_HOST
    EXPECT_NE(output().find("no GPU: kernels are executed on the CPU"), std::string::npos) << output();
    EXPECT_NE(errors().find("nothing it shows is a result of a GPU"), std::string::npos) << errors();
#endif
  }
}

TEST_F(BenchCommandTest, WrongUsageSaysWhatToDoAndPrintsNoResult) {
  for (const char* arguments : {"", "step", "step model.yaml", "ops MODEL --only nothing-like-it --sequence 16",
                                "step MODEL --sequence 33", "step MODEL --steps 0", "step MODEL --dtype float31"}) {
    std::string command = arguments;
    if (const size_t at = command.find("MODEL"); at != std::string::npos)
      command.replace(at, 5, folder_ + "/model.yaml");
    EXPECT_EQ(bench(command), 2) << command;
    EXPECT_EQ(output(), "") << command;
    EXPECT_NE(errors().find("gta: error:"), std::string::npos) << command;
  }
}

}  // namespace
}  // namespace gta
