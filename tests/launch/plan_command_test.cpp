// `gta plan`: every file that `train` takes, every key that counts, GPUs that are not here, the whole run.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/gemm.h"
#include "launch/budget.h"
#include "launch/config/gpus.h"
#include "launch/config/schema.h"
#include "launch/plan.h"
#include "tests/cuda_device.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

using Json = nlohmann::json;

class PlanCommandTest : public SmallRun {
 protected:
  // What the command says, of the run's file if no other is named.
  std::string said(const std::string& arguments, const std::string& file = "run.yaml") {
    remove_tree(folder_ + "/out.txt");
    remove_tree(folder_ + "/err.txt");
    EXPECT_EQ(gta("plan " + folder_ + "/" + file + " " + arguments), 0) << arguments << "\n" << errors();
    return read_file(folder_ + "/out.txt");
  }
  Json json(const std::string& arguments, const std::string& file = "run.yaml") {
    return Json::parse(said("--json " + arguments, file));
  }
  void expect_refusal(const std::string& arguments, const std::string& why) {
    remove_tree(folder_ + "/err.txt");
    EXPECT_EQ(gta("plan " + folder_ + "/" + arguments), 2) << arguments;
    EXPECT_NE(errors().find(why), std::string::npos) << arguments << "\n" << errors() << "\nexpected: " << why;
  }
};

// A key of the schema, another value, and what has to be set for it to count.
struct Change {
  std::string key, value, also = {};
};
const std::string kGpu = "--gpu h100-80gb --mfu 0.4 ", kMla = "model.attention.type=mla",
                  kPrompts = "train.sample_prompts=[ab]";

std::vector<Change> what_changes(const std::string& folder) {
  return {{"model.hidden_size", "40"},
          {"model.layers", "3"},
          {"model.intermediate_size", "64"},
          {"model.heads", "8"},
          {"model.head_dim", "16"},
          {"model.vocab_size", "512"},
          {"model.vocab_multiple", "1000"},
          {"model.max_sequence_length", "64"},
          {"model.tie_embeddings", "false"},
          {"model.attention.type", "mha"},
          {"model.attention.query_heads", "4"},
          {"model.attention.key_heads", "2"},
          {"model.attention.latent_heads", "2"},
          {"model.attention.latent_dim", "4"},
          {"model.attention.value_decoder", "direct"},
          {"model.attention.kv_heads", "4", "model.attention.type=gqa"},
          {"model.attention.qkv_bias", "false"},
          {"model.attention.value_heads", "4", "model.attention.type=gha"},
          {"model.attention.kv_lora_rank", "16", kMla},
          {"model.attention.nope_dim", "16", kMla},
          {"model.attention.rope_dim", "8", kMla},
          {"model.attention.value_dim", "16", kMla},
          {"data.tokenizer", folder + "/other.model"},
          {"data.validation", "[]"},
          {"data.sequence_length", "8"},
          {"data.document_mask", "true"},
          {"train.steps", "13"},
          {"train.tokens", "640", "train.steps=0"},
          {"train.global_batch_size", "8"},
          {"train.micro_batch_size", "1"},
          {"train.dtype", "bfloat16"},
          {"train.recompute", "block"},
          {"train.evaluate_every_steps", "4"},
          {"train.sample_every_steps", "4", kPrompts},
          {"train.diagnose_every_steps", "4"},
          {"train.validation_tokens", "50"},
          {"train.sample_prompts", "[ab]"},
          {"train.sample_tokens", "9", kPrompts},
          {"train.checkpoint.asynchronous", "false"}};
}

// Keys that change neither memory nor FLOPs: what is computed with, where it lies, how often something is written. How
// much of a text the masked attention skips, and how long a prompt is, the text says and not the key.
const std::set<std::string> kChangesNothing = {
    "name",
    "seed",
    "model.rope_theta",
    "model.norm_eps",
    "model.initializer_range",
    "model.attention.gate",
    "data.train",
    "data.windows_across_shards",
    "optimizer.type",
    "optimizer.learning_rate",
    "optimizer.betas",
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "optimizer.schedule.type",
    "optimizer.schedule.steps",
    "optimizer.schedule.warmup_steps",
    "optimizer.schedule.warmup_fraction",
    "optimizer.schedule.decay_steps",
    "optimizer.schedule.final_ratio",
    "train.sharding",
    "train.bucket_mib",
    "train.gpu_transport",
    "train.verify_replicas_every_steps",
    "train.on_damage",
    "train.hang_timeout_seconds",
    "train.watchdog_interface",
    "train.deterministic",
    "train.checkpoint.every_steps",
    "train.checkpoint.keep",
    "train.checkpoint.keep_every_steps",
    "train.z_loss",
    "train.log_every_steps",
    "train.max_skipped_steps",
    "train.init_from",
};

TEST_F(PlanCommandTest, EveryKeyThatChangesMemoryOrFlopsChangesIt) {
  train_tokenizer({read_file(folder_ + "/text.txt")}, 400, folder_ + "/other.model");
  std::map<std::string, Change> changes;
  for (const Change& change : what_changes(folder_)) changes[change.key] = change;
  // Memory, parameters and FLOPs, without what only repeats the configuration.
  const auto costs = [&](const std::string& overrides) {
    const Json all = json(kGpu + overrides);
    Json run = all.at("run");
    for (const char* key : {"steps", "tokens", "dtype", "hours", "peak", "peak_flops_per_second"}) run.erase(key);
    return Json{all.at("memory_bytes"), all.at("host_bytes"), all.at("parameters"), all.at("flops_per_token_training"),
                run};
  };
  std::map<std::string, Json> before;  // by what is set beside
  for (const ConfigKey& key : config_keys()) {
    const auto found = changes.find(key.path);
    ASSERT_NE(found != changes.end(), kChangesNothing.contains(key.path))
        << key.path << ": give it another value above, or say that it costs nothing";
    if (found == changes.end()) continue;
    const Change& change = found->second;
    const std::string also = change.also.empty() ? "" : " --set " + change.also;
    if (change.key == "train.tokens") {
      EXPECT_EQ(costs(also + " --set train.tokens=640"), costs(" --set train.steps=10"));
      continue;
    }
    if (!before.contains(also)) before[also] = costs(also);
    EXPECT_NE(costs(also + " --set " + change.key + "=" + change.value), before[also]) << change.key;
  }
}

TEST_F(PlanCommandTest, TakesWhateverTrainTakes) {
  // The vocabulary is the tokenizer's, and where that is not here an assumption, which is said.
  EXPECT_EQ(json("").at("vocab_size"), 320);
  EXPECT_EQ(json("").at("notes").at(0), "model.vocab_size is 320, from the tokenizer " + folder_ + "/t.model");
  const Json assumed = json("--set data.tokenizer=absent.model");
  EXPECT_EQ(assumed.at("vocab_size"), 32000);
  for (const char* part : {"assumed to be 32000: the tokenizer", "absent.model is not here",
                           "--set model.vocab_size=N, or make the tokenizer ('gta data tokenizer')"})
    EXPECT_NE(assumed.at("notes").dump().find(part), std::string::npos) << assumed.at("notes");
  EXPECT_EQ(json("--set data.tokenizer=absent.model --set model.vocab_size=500").at("vocab_size"), 500);
  EXPECT_EQ(gta("bench step " + folder_ + "/run.yaml --device cpu --steps 1"), 0) << errors();
  // A micro-batch that is chosen on the device: this one, or the one that is named.
  EXPECT_EQ(json("--device cpu --set train.micro_batch_size=auto").at("micro_batch_size"), 4);
  EXPECT_EQ(json("--gpu h200 --set train.micro_batch_size=auto").at("micro_batch_size"), 4);
  // A run whose model is all in --set.
  publish_text(
      folder_ + "/bare.yaml",
      "name: bare\ndata: {tokenizer: t.model, train: [shards/train-*.h5], sequence_length: 16}\ntrain: {steps: "
      "2, global_batch_size: 4}\n");
  const std::string model =
      "--set model.hidden_size=32 --set model.layers=1 --set model.intermediate_size=48 --set model.heads=4 --set "
      "model.head_dim=8 --set model.attention.type=mha ";
  EXPECT_EQ(json(model, "bare.yaml").at("run").at("steps"), 2);
  EXPECT_EQ(gta("train " + folder_ + "/bare.yaml --run-dir " + folder_ + "/bare " + model), 0) << errors();
}

// A model's file is a run of nothing but steps, as far as --set says nothing else.
TEST_F(PlanCommandTest, OfAModelHonoursEveryOverride) {
  publish_text(folder_ + "/model.yaml",
               "hidden_size: 32\nlayers: 2\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nvocab_size: 320\nattention: "
               "{type: mha}\n");
  const std::string length = "--sequence-length 16 --device cuda ",
                    same = " --set train.dtype=bfloat16 --set train.micro_batch_size=2 --set train.recompute=block",
                    all = same +
                          " --set train.steps=12 --set train.global_batch_size=4 --set data.sequence_length=16 --set "
                          "train.checkpoint.asynchronous=false";
  const Json plain = json(length, "model.yaml"), set = json(length + same, "model.yaml");
  EXPECT_NE(plain.at("memory_bytes"), set.at("memory_bytes"));
  EXPECT_EQ(set.at("dtype"), "bfloat16");
  EXPECT_FALSE(plain.contains("run"));
  const Json of_model = json("--gpu h200 " + all, "model.yaml"),
             of_run = json("--gpu h200 --set model.attention.type=mha --set data.validation=[]" + all);
  for (const char* part : {"memory_bytes", "host_bytes", "run", "micro_batches", "fits"})
    EXPECT_EQ(of_model.at(part), of_run.at(part)) << part;
  expect_refusal("model.yaml --set train.micro_batch_size=3 --set train.global_batch_size=4",
                 "--set train.micro_batch_size=3: 3 does not divide");
  expect_refusal("model.yaml --set train.dtype=float16", "train.dtype");
  expect_refusal("model.yaml", "needs a sequence length");
}

TEST_F(PlanCommandTest, SaysWhatFitsIntoAGpuThatIsNotHere) {
  const std::string file = std::string(GTA_SOURCE_DIR) + "/configs/runs/gta-1b.yaml";
  remove_tree(folder_ + "/out.txt");
  ASSERT_EQ(gta("plan " + file + " --gpu a100-40gb --set train.dtype=bfloat16 --json"), 0) << errors();
  const Json j = Json::parse(read_file(folder_ + "/out.txt"));
  EXPECT_EQ(j.at("device"), "cuda");
  EXPECT_EQ(j.at("gpu").at("name"), "a100-40gb");
  EXPECT_TRUE(j.at("fits"));
  const int64_t limit = j.at("memory_for_training_bytes");
  EXPECT_EQ(limit, gpu_named("a100-40gb").memory / 10 * 9);
  const Json& largest = j.at("largest_micro_batch_sizes");
  EXPECT_LT(largest.at("none"), largest.at("block"));
  EXPECT_EQ(j.at("largest_micro_batch_size"), largest.at("none"));
  bool has_largest = false;
  for (const Json& row : j.at("micro_batches")) {
    has_largest = has_largest || row.at("micro_batch_size") == largest.at("none");
    for (const char* mode : {"none", "elementwise", "block"})
      EXPECT_EQ(row.at("total_bytes").at(mode) <= limit, row.at("micro_batch_size") <= largest.at(mode)) << row;
  }
  EXPECT_TRUE(has_largest);
  // The same numbers written out; and one that is too small.
  const Json own = json("--gpu mine:1:2:3"), small = json("--gpu mine:0.0001:2:3");
  EXPECT_EQ(own.at("device_memory_bytes"), int64_t{1} << 30);
  EXPECT_FALSE(small.at("fits"));
  EXPECT_TRUE(small.at("micro_batches").empty());
  EXPECT_NE(said("--gpu mine:0.0001:2:3").find("not even one sequence fits"), std::string::npos);
  const std::string text = said("--gpu h100-80gb");
  for (const char* part : {"fits        yes", "micro-batch         none  elementwise        block", "largest"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  for (const std::string wrong : {"h101", "mine:24", "mine:24:x:1", "mine:24:-1:1", ":1:1:1", "mine:24:100:900:1"})
    expect_refusal("run.yaml --gpu " + wrong, "expected a100-40gb, a100-80gb, b200, h100-80gb");
  expect_refusal("run.yaml --gpu h200 --device cpu", "cpu and --gpu h200: give one of them");
}

TEST(Gpus, TableIsWhole) {
  ASSERT_GE(known_gpus().size(), 5u);
  for (const Gpu& gpu : known_gpus()) {
    SCOPED_TRACE(gpu.name);
    EXPECT_GT(gpu.memory, int64_t{20} << 30);
    EXPECT_GT(gpu.bfloat16_flops, gpu.float32_flops);
    EXPECT_GT(gpu.bandwidth, 1e11);
    EXPECT_FALSE(gpu.source.empty());
    EXPECT_LT(gpu.nvlink, gpu.bandwidth);
    EXPECT_EQ(peak_flops(gpu, DType::F64), 0);
  }
}

TEST_F(PlanCommandTest, CountsTheWholeRun) {
  // 12 steps of 4 x 16 tokens; looks after 5, 10 and 12 steps at 100 tokens; diagnoses after 6 and 12, of 2 sequences.
  const std::string set =
      " --set train.evaluate_every_steps=5 --set train.diagnose_every_steps=6 --set train.sample_tokens=7 --set "
      "train.sample_prompts=[a,b] --set train.sample_every_steps=5";
  const Json given = json(kGpu + "--price 3" + set), assumed = json("--gpu h100-80gb" + set);
  const Json &run = given.at("run"), &flops = run.at("flops");
  const double forward = given.at("flops_per_token_forward");
  EXPECT_EQ(run.at("tokens"), 12 * 4 * 16);
  EXPECT_DOUBLE_EQ(flops.at("training"), 12 * 4 * 16 * 3 * forward);
  EXPECT_DOUBLE_EQ(flops.at("validation"), 3 * 100 * forward);
  EXPECT_DOUBLE_EQ(flops.at("diagnosis"), 2 * 2 * 16 * forward);
  EXPECT_DOUBLE_EQ(flops.at("samples"), (1 + 3) * 2 * 7 * forward) << "before, twice on the way, and at the end";
  const double model = flops.at("model"), hours = run.at("hours"), peak = 67e12;
  EXPECT_DOUBLE_EQ(hours, model / (0.4 * peak) / 3600) << "float32 products are not TF32's";
  EXPECT_DOUBLE_EQ(run.at("cost"), 3 * hours);
  EXPECT_EQ(run.at("mfu_source"), "given");
  EXPECT_DOUBLE_EQ(run.at("mfu"), 0.4);
  EXPECT_EQ(assumed.at("run").at("mfu_source"), "assumed");
  EXPECT_FALSE(assumed.at("run").contains("cost"));
  // An assumption counts what is recomputed; an MFU that is given has it in it.
  const auto hours_of = [&](const std::string& arguments) -> double { return json(arguments).at("run").at("hours"); };
  const std::string block = " --set train.recompute=block";
  EXPECT_GT(hours_of("--gpu h100-80gb" + block), 1.1 * hours_of("--gpu h100-80gb"));
  EXPECT_EQ(hours_of(kGpu + block), hours_of(kGpu));
  // A validation set that is scored whole is counted where it is, and said where it is not.
  EXPECT_GT(json(kGpu + "--set train.validation_tokens=0").at("run").at("flops").at("validation"),
            flops.at("validation"));
  EXPECT_NE(said(kGpu + "--set train.validation_tokens=0 --set data.validation=[absent-*.h5]").find("not here"),
            std::string::npos);
  EXPECT_NE(said(kGpu).find("at an MFU of 40.0% given (67 TFLOP/s, data sheet's products in float32)"),
            std::string::npos);
  EXPECT_NE(said("--gpu h100-80gb --set train.dtype=float64").find("not known: h100-80gb has no figure"),
            std::string::npos);
  expect_refusal("run.yaml --gpu h200 --measure", "times steps on a device of this machine");
  expect_refusal("run.yaml --mfu 0.5 --measure --device cpu", "[--measure] and --mfu 0.5: give one of them");
  expect_refusal("run.yaml --mfu 1.5", "--mfu: expected");
  expect_refusal("run.yaml --gpu h200 --set train.dtype=float64 --price 1", "needs the run's hours");
}

TEST_F(PlanCommandTest, MeasuresHere) {
  const Json j = json("--device cpu --measure");
  EXPECT_EQ(j.at("run").at("mfu_source"), "measured");
  EXPECT_GT(j.at("run").at("hours"), 0);
  EXPECT_GT(j.at("run").at("mfu"), 0);
  EXPECT_EQ(json("--device cpu").at("run").at("mfu_source"), "assumed");
}

// A training by several: memory of each, the step, the run, and what is missing to say so.
class PlanOfRanks : public PlanCommandTest {
 protected:
  const std::string two_ = kGpu + "--gpus 2 ";
};

TEST_F(PlanOfRanks, SaysWhatAStepOfSeveralTakes) {
  const Json one = json(kGpu + "--gpus 1"), alone = json(kGpu), two = json(two_ + "--price 3 --storage 2"),
             &s = two.at("scaling"), &waited = s.at("waited_seconds"), &sent = s.at("sent_bytes");
  EXPECT_DOUBLE_EQ(one.at("run").at("hours"), alone.at("run").at("hours"));
  EXPECT_EQ(one.at("memory_bytes"), alone.at("memory_bytes"));
  EXPECT_EQ(one.at("scaling").at("sent_bytes").at("total"), 0);
  EXPECT_FALSE(alone.contains("scaling"));
  EXPECT_EQ(s.at("gpus"), 2);
  EXPECT_EQ(s.at("sequences_of_each"), 2);
  EXPECT_EQ(s.at("micro_batches"), 1);
  EXPECT_DOUBLE_EQ(s.at("within_node_bytes_per_second"), 0.75 * 450e9);
  EXPECT_EQ(sent.at("total").get<int64_t>(), sent.at("gradients").get<int64_t>() + sent.at("weights").get<int64_t>() +
                                                 sent.at("agreement").get<int64_t>());
  EXPECT_GE(sent.at("weights"), two.at("parameters").get<int64_t>() / 2 * 4 - 4096) << "half of float32, without norms";
  const double step = s.at("step_seconds"), computing = s.at("computing_seconds"), waits = waited.at("total");
  EXPECT_DOUBLE_EQ(step, computing + waits);
  EXPECT_DOUBLE_EQ(s.at("efficiency"), computing / step);
  EXPECT_DOUBLE_EQ(s.at("tokens_per_second"), 4 * 16 / step);
  const Json& run = two.at("run");
  const double flops = run.at("flops").at("validation").get<double>() / 2 + run.at("flops").at("samples").get<double>(),
               hours = run.at("hours");
  EXPECT_NEAR(3600 * hours, 12 * step + flops / (0.4 * 67e12), 1e-12);
  EXPECT_DOUBLE_EQ(run.at("cost"), 2 * 3 * hours);
  EXPECT_LT(run.at("mfu"), 0.4);
  // Masters and moments of float32, of which each writes its half.
  const int64_t state = 12 * two.at("parameters").get<int64_t>();
  EXPECT_EQ(s.at("checkpoint").at("bytes"), state);
  EXPECT_EQ(s.at("checkpoint").at("bytes_of_each"), state / 2);
  EXPECT_DOUBLE_EQ(s.at("checkpoint").at("seconds"), static_cast<double>(state) / 2e9);
  EXPECT_FALSE(json(two_).at("scaling").at("checkpoint").contains("seconds"));
}

TEST_F(PlanOfRanks, CountsTheMemoryAndTheBatchOfEach) {
  const LoadedRun run = load({});
  RunConfig config = run.config;
  config.model.vocab_size = 320;
  const MemoryPlan of_rank = plan_memory(config.model, training_shape(config, DeviceType::Cuda, 2));
  const Json two = json(two_);
  EXPECT_EQ(two.at("memory_bytes").at("total"), of_rank.total);
  EXPECT_LT(of_rank.optimizer, json(kGpu).at("memory_bytes").at("optimizer"));
  EXPECT_EQ(two.at("largest_micro_batch_size"), 2);
  EXPECT_EQ(json(two_ + "--set train.micro_batch_size=auto").at("micro_batch_size"), 2);
  // A model's file, with the batch that it needs.
  publish_text(folder_ + "/model.yaml",
               "hidden_size: 32\nlayers: 2\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nvocab_size: 320\nattention: "
               "{type: mha}\n");
  const Json model = json(two_ + "--sequence-length 16 --set train.global_batch_size=8", "model.yaml");
  EXPECT_EQ(model.at("scaling").at("sequences_of_each"), 4);
  EXPECT_FALSE(model.contains("run"));
  expect_refusal("model.yaml --gpu h200 --gpus 2 --sequence-length 16",
                 "[--gpus] needs the batch that they share: give a run's file, or --set train.global_batch_size=N");
}

TEST_F(PlanOfRanks, EachRateCounts) {
  const auto step = [&](const std::string& arguments) -> double {
    return json(kGpu + arguments).at("scaling").at("step_seconds");
  };
  const std::string nodes = "--gpus 2 --gpus-per-node 1 ";
  EXPECT_LT(step(nodes + "--network 50"), step(nodes + "--network 1"));
  EXPECT_LT(step("--gpus 2 --node-network 500"), step("--gpus 2 --node-network 5"));
  EXPECT_LT(step("--gpus 2 --latency 1"), step("--gpus 2 --latency 2"));
  const std::string half = "--gpus 2 --set train.dtype=bfloat16 ", wide = half + "--set model.intermediate_size=20000 ";
  EXPECT_LT(step(half), step(half + "--set train.sharding=none")) << "sums that come back are float32";
  EXPECT_NE(step(wide), step(wide + "--set train.bucket_mib=1"));
  // A GPU of which nothing more is known speaks within its node as between nodes.
  const Json own = json("--gpu mine:24:100:900 --gpus 2 --network 7").at("scaling");
  EXPECT_DOUBLE_EQ(own.at("within_node_bytes_per_second"), 7e9);
  // Ranks of a CPU.
  EXPECT_GT(json("--device cpu --mfu 0.5 --gpus 2 --network 1").at("scaling").at("efficiency"), 0);
}

TEST_F(PlanOfRanks, SaysItInWords) {
  const std::string text = said(kGpu +
                                "--gpus 4 --gpus-per-node 2 --network 50 --storage 1e-9 --price 3 --set "
                                "train.micro_batch_size=1 --set model.vocab_size=100000 --set train.bucket_mib=1");
  for (const char* part :
       {"memory of training on cuda, of each of 4 GPUs, micro-batch of 1 x 16",
        "scaling     4 GPUs, 2 in a node, 338 GB/s within it (75% assumed of NVLink's data sheet), 50 GB/s between "
        "nodes, 3 us a message",
        "share       1 of 4 sequences a step, micro-batches 1 x 1", "of gradients in float32", "of weights in float32",
        "waiting", "backward and forward hide", "of 4 times what one does", "raise train.checkpoint.every_steps",
        "on 4 x h100-80gb, at an MFU of", "one alone has 40.0% given", "at 3.00 an hour of each"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(said(kGpu).find("scaling"), std::string::npos);
}

TEST_F(PlanOfRanks, SaysWhatIsMissing) {
  expect_refusal("run.yaml --gpu h200 --gpus 3",
                 "train.global_batch_size: 4 is no multiple of 3 ranks x train.micro_batch_size 2");
  expect_refusal("run.yaml --gpu h200 --gpus 4", "train.micro_batch_size: 2 x 4 ranks does not divide");
  expect_refusal("run.yaml --gpu h200 --gpus 2 --gpus-per-node 1",
                 "[--network] is missing: 2 GPUs, 1 in a node, need the GB/s");
  expect_refusal("run.yaml --gpu l4 --gpus 2", "[--node-network] is missing: nothing is known of what l4 sends");
  expect_refusal("run.yaml --gpu h200 --network 50", "[--network] is of a training by several: give --gpus N as well");
  expect_refusal("run.yaml --gpu h200 --storage 5", "[--storage] is of a training by several");
  expect_refusal("run.yaml --gpu h200 --gpus 2 --set train.dtype=float64", "[--gpus] needs the speed of one: h200 has");
  for (const std::string wrong : {"--gpus 0", "--gpus x", "--gpus 2 --network 0", "--gpus 2 --latency -1",
                                  "--gpus 2 --gpus-per-node 0", "--gpus 2 --storage inf"})
    expect_refusal("run.yaml --gpu h200 " + wrong, "expected");
}

TEST(Budget, CountsAsPeopleWrite) {
  EXPECT_EQ(people_count(950), "950");
  EXPECT_EQ(people_count(168558336), "168.6M");
  EXPECT_EQ(people_count(1128766208), "1.13B");
  EXPECT_EQ(people_count(220e9), "220B");
  EXPECT_EQ(people_count(2e12), "2T");
}

// What a whole run held at most, looks and all, is what is planned for its step. besides: bytes that are there on such
// a device whatever is trained, which would hide the rest.
void expect_planned(const LoadedRun& run, const std::string& run_dir, DeviceType device, int64_t besides) {
  int64_t held = 0;
  std::istringstream rows(read_file(run_dir + "/metrics.jsonl"));
  for (std::string row; std::getline(rows, row);) held = std::max(held, Json::parse(row).value("memory_bytes", held));
  RunConfig config = run.config;
  config.model.vocab_size = 320;
  const int64_t planned = plan_memory(config.model, training_shape(config, device)).peak;
  EXPECT_NEAR(static_cast<double>(planned), static_cast<double>(held), 0.05 * static_cast<double>(held - besides));
}

// Each looks after every step, so that the rows after it know what looking held. Where freed blocks are kept, what
// small ones leave behind is little of a large model.
std::vector<std::vector<std::string>> looking_runs(const std::string& hidden_size) {
  std::vector<std::vector<std::string>> runs = {
      {},
      {"train.dtype=bfloat16", "data.document_mask=true", "train.diagnose_every_steps=2"},
      {"train.recompute=block", "train.sample_prompts=[ab]", "train.sample_tokens=8", "train.sample_every_steps=1"},
      {"train.recompute=elementwise", "model.attention.type=mla", "train.z_loss=0.001", "model.tie_embeddings=false"}};
  for (std::vector<std::string>& run : runs)
    run.insert(run.end(), {"model.hidden_size=" + hidden_size, "model.head_dim=32", "model.layers=4",
                           "model.intermediate_size=320", "model.attention.latent_dim=32", "train.steps=3",
                           "train.global_batch_size=32", "train.micro_batch_size=16", "train.evaluate_every_steps=1",
                           "train.validation_tokens=2000"});
  return runs;
}

class PlannedTrainings : public PlanCommandTest {
 protected:
  void expect_planned_on(const std::string& device, const std::string& hidden_size, int64_t besides) {
    for (const std::vector<std::string>& overrides : looking_runs(hidden_size)) {
      SCOPED_TRACE(overrides.front());
      const LoadedRun run = load(overrides);
      WatchedRun o = options("held");
      o.device = device;
      o.use = FolderUse::Fresh;
      ASSERT_EQ(train(run, o).outcome, TrainOutcome::Finished);
      expect_planned(run, o.run_dir, device_from_name(device).type, besides);
    }
  }
};

TEST_F(PlannedTrainings, HoldWhatIsPlanned) { expect_planned_on("cpu", "512", 0); }

TEST_F(PlannedTrainings, HoldWhatIsPlannedOnCuda) {
  GTA_NEEDS_CUDA();
  expect_planned_on("cuda", "128", kCudaGemmWorkspaceBytes);
}

}  // namespace
}  // namespace gta
