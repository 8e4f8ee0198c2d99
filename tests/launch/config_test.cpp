// The configuration reader: what it refuses, with which place and advice, and that what it writes it reads again.
#include "launch/config/config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "core/error.h"
#include "launch/config/file_pattern.h"
#include "launch/config/schema.h"
#include "tests/launch/other_value.h"

namespace gta {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <class F>
std::string refusal(F&& load) {
  try {
    load();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
    return error.what();
  }
  return "";
}

class Config : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "gta-config-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    for (const char* file : {"k.model", "train-2.h5", "train-1.h5", "validation-1.h5"}) write(file, "");
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return path(name);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  LoadedRun load(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return load_run_config(write("run.yaml", text), overrides);
  }
  std::string refused(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return refusal([&] { load(text, overrides); });
  }

  fs::path folder_;
};

const std::string kRun = R"(name: small
model:
  hidden_size: 32
  layers: 2
  intermediate_size: 48
  heads: 4
  head_dim: 8
  attention: {type: gta, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 16}
data:
  tokenizer: k.model
  train: [train-*.h5]
  validation: [validation-1.h5]
  sequence_length: 16
train:
  steps: 10
  global_batch_size: 8
  micro_batch_size: 4
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

// ---- what a file means

TEST_F(Config, ResolvesPathsGlobsAndDefaults) {
  const RunConfig c = load(kRun).config;
  EXPECT_EQ(c.name, "small");
  EXPECT_EQ(c.seed, 1234);
  EXPECT_EQ(c.data.tokenizer, path("k.model"));
  EXPECT_EQ(c.data.train, (std::vector<DataSource>{{{path("train-1.h5"), path("train-2.h5")}, 1}}));
  EXPECT_FALSE(c.data.document_mask);
  EXPECT_FALSE(c.data.windows_across_shards) << "what runs were trained on before the key was there";
  EXPECT_EQ(c.model.attention.type, AttentionType::Gta);
  EXPECT_EQ(c.model.attention.latent_dim, 16);
  EXPECT_EQ(c.model.vocab_size, 0);
  EXPECT_EQ(c.model.max_sequence_length, 16);
  EXPECT_EQ(c.optimizer.beta2, 0.95);
  EXPECT_EQ(c.train.checkpoint.keep, 2);
}

TEST_F(Config, TrainingDataMayBeAMixture) {
  const DataSource first{{path("train-1.h5")}, 0.7}, second{{path("train-2.h5"), path("validation-1.h5")}, 2};
  for (const char* value :
       {"[{shards: train-1.h5, weight: 0.7}, {weight: 2, shards: [train-2.h5, vali*.h5]}]",
        "\n    - shards: train-1.h5\n      weight: 0.7\n    - shards: [train-2.h5, vali*.h5]\n      weight: 2.0"})
    EXPECT_EQ(load(replaced(kRun, "[train-*.h5]", value)).config.data.train, (std::vector<DataSource>{first, second}))
        << value;
  // Paths of a mixture in an included file are relative to that file, those of an override to the working directory.
  write("base/base.yaml",
        replaced(replaced(kRun, "k.model", "../k.model"), "[train-*.h5]", "[{shards: ../train-*.h5, weight: 3}]"));
  write("base/validation-1.h5", "");
  EXPECT_EQ(load("include: base/base.yaml\n").config.data.train,
            (std::vector<DataSource>{{{path("train-1.h5"), path("train-2.h5")}, 3}}));
  EXPECT_EQ(
      load_run_config(write("run.yaml", kRun),
                      {"data.train=[{shards: a.h5, weight: 1}, {shards: /b-*.h5, weight: 1e3}]"}, DataFiles::Ignore)
          .config.data.train,
      (std::vector<DataSource>{{{(fs::current_path() / "a.h5").string()}, 1}, {{"/b-*.h5"}, 1000}}));
  const std::string message =
      refused(replaced(kRun, "[train-*.h5]", "[{shards: train-1.h5, weight: 1}, {shards: absent-*.h5, weight: 1}]"));
  EXPECT_TRUE(contains(message, "run.yaml:11:10: data.train: ") && contains(message, "absent-*.h5 matches no file"))
      << message;
}

TEST_F(Config, DataFilesAreNotLookedUpForAPlan) {
  const std::string file =
      write("run.yaml", replaced(replaced(kRun, "train-*", "absent-*"), "k.model", "absent.model"));
  const RunConfig c = load_run_config(file, {}, DataFiles::Ignore).config;
  EXPECT_EQ(c.data.tokenizer, path("absent.model"));
  const std::string message = refusal([&] { load_run_config(file, {}); });
  EXPECT_TRUE(contains(message, "run.yaml:11:")) << message;
  EXPECT_TRUE(contains(message, "data.train: ") && contains(message, "absent-*.h5 matches no file")) << message;
  EXPECT_TRUE(contains(message, "data.tokenizer: ")) << message;
  EXPECT_EQ(lines_of(message).size(), 2u) << message;
}

TEST_F(Config, ANearChoiceIsNamed) {
  const auto expect = [&](const std::string& key, const std::vector<std::string>& all_written,
                          const std::string& meant) {
    for (const std::string& written : all_written) {
      const std::string message = refused(kRun, {key + "=" + written});
      EXPECT_TRUE(contains(message, fmt::format(", got '{}'; did you mean {}?", written, meant))) << message;
      EXPECT_TRUE(contains(message, "expected " + type_text(*find_config_key(key)))) << message;
      EXPECT_EQ(lines_of(message).size(), 1u) << message;
    }
  };
  expect("train.dtype", {"bf16", "BF16", "bfp16", "bfloat", "Bfloat16", "blfoat16"}, "bfloat16");
  expect("train.dtype", {"fp32", "FP32", "f32", "float", "single", "Float32"}, "float32");
  expect("train.dtype", {"fp64", "f64", "double"}, "float64");
  // There is but one type of 16 bits.
  expect("train.dtype", {"fp16", "float16", "half"}, "bfloat16");
  expect("model.attention.type", {"gqqa", "GQA"}, "gqa");
  expect("model.attention.type", {"gt", "gtaa"}, "gta");
  expect("model.attention.value_decoder", {"learned"}, "direct+learned");
  expect("model.attention.gate", {"sigmod", "sig"}, "sigmoid");
  expect("optimizer.type", {"adam", "AdamW"}, "adamw");
  expect("optimizer.schedule.type", {"cos", "consine"}, "cosine");
  expect("train.recompute", {"blocks"}, "block");
  expect("train.on_damage", {"restart"}, "restore");
  expect("model.tie_embeddings", {"True", "yes"}, "true");
  expect("train.micro_batch_size", {"automatic"}, "auto");
  for (const char* far : {"train.dtype=fp8", "train.dtype=float8", "train.recompute=everything", "train.recompute=full",
                          "model.attention.type=x", "model.attention.type=ga", "model.layers=two"})
    EXPECT_FALSE(contains(refused(kRun, {far}), "did you mean")) << refused(kRun, {far});
}

TEST_F(Config, ANumberWrittenShortIsWrittenOut) {
  for (const auto& [key, written, meant] :
       std::vector<std::tuple<std::string, std::string, std::string>>{{"train.steps", "20k", "20000"},
                                                                      {"train.steps", "20K", "20000"},
                                                                      {"train.steps", "1e4", "10000"},
                                                                      {"train.steps", "1.5m", "1500000"},
                                                                      {"train.steps", "20_000", "20000"},
                                                                      {"train.tokens", "20_000", "20000"},
                                                                      {"train.global_batch_size", "1k", "1000"}})
    EXPECT_TRUE(
        contains(refused(kRun, {key + "=" + written}), fmt::format(", got '{}'; did you mean {}?", written, meant)))
        << refused(kRun, {key + "=" + written});
  for (const char* none : {"train.steps=2.5", "train.steps=-1", "model.layers=1M", "train.steps=k"})
    EXPECT_FALSE(contains(refused(kRun, {none}), "did you mean")) << refused(kRun, {none});
}

TEST_F(Config, TokenCountsMayBeShort) {
  for (const auto& [text, tokens] : std::vector<std::pair<std::string, int64_t>>{{"1280", 1280},
                                                                                 {"1.28e3", 1280},
                                                                                 {"2k", 2000},
                                                                                 {"2K", 2000},
                                                                                 {"1.5m", 1500000},
                                                                                 {"1b", 1000000000},
                                                                                 {"1B", 1000000000},
                                                                                 {"2t", 2000000000000},
                                                                                 {"1.5M", 1500000},
                                                                                 {"220B", 220000000000},
                                                                                 {"1.5e9", 1500000000},
                                                                                 // No double is 16.1 or 1.005.
                                                                                 {"16.1k", 16100},
                                                                                 {"1.005B", 1005000000},
                                                                                 {"0.29M", 290000},
                                                                                 {"4.35e2", 435},
                                                                                 {"1E6", 1000000},
                                                                                 {"+1.28e+3", 1280},
                                                                                 {"12800e-1", 1280},
                                                                                 {"130.0", 130},
                                                                                 {"999999999999999", 999999999999999},
                                                                                 {"1e15", 1000000000000000}}) {
    const RunConfig c = load(replaced(kRun, "steps: 10", "tokens: " + text)).config;
    EXPECT_EQ(c.train.steps, (tokens + 127) / 128) << text;
    EXPECT_EQ(load(kRun, {"train.validation_tokens=" + text}).config.train.validation_tokens, tokens);
  }
  for (const char* text : {"1.5",
                           "-1",
                           "1e30",
                           "1.2345k",
                           "-1.5k",
                           "1e-1",
                           "1e",
                           "1e99999999999",
                           "1.1.1k",
                           ".",
                           "1.0000000000000000000001e15",
                           "1e15k",
                           "1.001e15",
                           "1 k",
                           "k",
                           "1e400",
                           "B",
                           "2X",
                           ".inf",
                           "0x10",
                           "010"})
    EXPECT_TRUE(contains(refused(replaced(kRun, "steps: 10", std::string("tokens: ") + text)),
                         "run.yaml:15:11: train.tokens: "))
        << text;
}

TEST_F(Config, AModelMayBeAFileRelativeToTheRun) {
  write("models/m.yaml",
        "hidden_size: 32\nlayers: 1\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nattention: {type: mha}\n");
  const std::string rest = kRun.substr(kRun.find("data:"));
  EXPECT_EQ(load("name: x\nmodel: models/m.yaml\n" + rest).config.model.layers, 1);
  EXPECT_EQ(load("name: x\nmodel: models/m.yaml\n" + rest, {"model.layers=3"}).config.model.layers, 3);
  EXPECT_EQ(load_model_config(path("models/m.yaml"), {"model.layers=5"}).layers, 5);
  EXPECT_EQ(load_model_config(path("run.yaml"), {}).layers, 1);
  write("models/m.yaml", "hidden_size: 32\nlayer: 1\n");
  const std::string message = refused("name: x\nmodel: models/m.yaml\n" + rest);
  EXPECT_TRUE(contains(message, "m.yaml:2:1: model.layer: ") && contains(message, "did you mean model.layers?"))
      << message;
}

TEST_F(Config, AModelMayBeJson) {
  const ModelConfig m = parse_model_config(
      R"({"hidden_size": 16, "layers": 2, "intermediate_size": 24, "heads": 4, "head_dim": 4, "vocab_size": 29,
    "rope_theta": 10000.0, "norm_eps": 1e-06, "tie_embeddings": true, "max_sequence_length": 512,
    "attention": {"type": "gta", "query_heads": 2, "key_heads": 1, "latent_heads": 1, "latent_dim": 8,
    "value_decoder": "direct+learned", "gate": "sigmoid", "qkv_bias": true}})",
      "fixture.h5");
  EXPECT_EQ(m.attention.latent_dim, 8);
  EXPECT_EQ(m.norm_eps, 1e-6);
  EXPECT_TRUE(contains(refusal([] { parse_model_config("{\"hidden_sise\": 16}", "fixture.h5"); }),
                       "fixture.h5:1:2: model.hidden_sise: "));
}

TEST_F(Config, AnIncludedFileLiesUnderTheOneThatIncludesIt) {
  write("base/base.yaml", replaced(replaced(kRun, "k.model", "../k.model"), "[train-*.h5]", "[../train-1.h5]"));
  write("base/validation-1.h5", "");
  const RunConfig c =
      load("include: base/base.yaml\nname: over\ndata: {train: [train-2.h5]}\ntrain: {steps: 20}\n", {"seed=7"}).config;
  EXPECT_EQ(c.name, "over");
  EXPECT_EQ(c.train.steps, 20);
  EXPECT_EQ(c.train.global_batch_size, 8);
  EXPECT_EQ(c.seed, 7);
  EXPECT_EQ(c.data.tokenizer, path("k.model"));
  EXPECT_EQ(c.data.train, (std::vector<DataSource>{{{path("train-2.h5")}, 1}}));
  EXPECT_EQ(c.data.validation, std::vector<std::string>{path("base/validation-1.h5")});
}

TEST_F(Config, FilesThatIncludeThemselvesAreRefused) {
  write("a.yaml", "include: b.yaml\n");
  write("b.yaml", "include: a.yaml\n");
  EXPECT_TRUE(contains(refusal([&] { load_run_config(path("a.yaml"), {}); }), "include: "));
  for (int i = 0; i < 12; ++i) write(fmt::format("d{}.yaml", i), fmt::format("include: d{}.yaml\n", i + 1));
  write("d12.yaml", kRun);
  EXPECT_TRUE(contains(refusal([&] { load_run_config(path("d0.yaml"), {}); }), "include: "));
  EXPECT_TRUE(contains(refused("include: absent.yaml\n"), "absent.yaml"));
  EXPECT_TRUE(contains(refused("include: [d12.yaml]\n"), "run.yaml:1:10: include: expected the name of one file"));
  write("m.yaml", "hidden_size: 32\nlayers: 2\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nattention: {type: mha}\n");
  write("d8.yaml", "name: x\nmodel: m.yaml\n" + kRun.substr(kRun.find("data:")));
  EXPECT_TRUE(contains(refusal([&] { load_run_config(path("d0.yaml"), {}); }),
                       "d8.yaml:2:8: model: files are nested too deeply"));
  EXPECT_NO_THROW(load_run_config(path("d1.yaml"), {}));
}

TEST_F(Config, OverridesAreCheckedLikeTheFile) {
  EXPECT_EQ(load(kRun, {"model.layers=3", "train.sample_prompts=[\"a b\"]", "optimizer.betas=[0.8, 0.9]"})
                .config.optimizer.beta1,
            0.8);
  EXPECT_EQ(load(kRun, {"data.tokenizer=" + path("train-1.h5")}).config.data.tokenizer, path("train-1.h5"));
  EXPECT_EQ(load_run_config(path("run.yaml"), {"data.tokenizer=z.model"}, DataFiles::Ignore).config.data.tokenizer,
            (fs::current_path() / "z.model").string());
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"model.layer=3", "did you mean model.layers?"},
           {"model.layers=many", "model.layers: expected "},
           {"model.layers=", "model.layers: expected "},
           {"model.layers=010", "octal"},
           {"model.layers", "key.path=value"},
           {"model.layers=[", "model.layers: "},
           {"model.layers=&two 2", "the value anchors and aliases are not used here"},
           {"model.layers={[2]: 3}", "model.layers: expected "},
           {"train.sample_prompts=[{a: b}]", "got an entry that is no text"},
           {"data.train=[{a: b}]", "data.train[0].a: is no key"},
           {"optimizer.eps=.nan", "optimizer.eps: expected "},
           {"model.layers=-1", "model.layers: expected "},
           {"model.tie_embeddings=\"true\"", "model.tie_embeddings: expected true or false"},
           {"name=\"\"", "name: expected text, got nothing"},
           {"optimizer.learning_rate=0", "optimizer.learning_rate: expected number, above 0"},
           {"model.norm_eps=0.0", "model.norm_eps: expected number, from 1e-20"},
           {"model.norm_eps=1e-30", "model.norm_eps: expected number, from 1e-20"},
           {"optimizer.eps=1e-46", "optimizer.eps: expected number, from 1e-30"},
           {"name=\"a\\0b\"", "name: expected text, got one with a NUL character in it"},
           {"name=\"a\\nb\"", "name: is a folder's name: expected no control characters"},
           {"data.train=[\"a\\0b\"]", "got one with a NUL character in it"},
           {"train.sample_prompts=[\"a\\0b\"]", "got one with a NUL character in it"},
           {"optimizer.weight_decay=-0.1", "optimizer.weight_decay: expected number, from 0"},
           {"optimizer.learning_rate=100.5", "optimizer.learning_rate: expected "}}) {
    const std::string message = refused(kRun, {text});
    // The key is named once, by the option.
    const std::string key = std::string(text).substr(0, std::string(text).find('=')) + ": ", said = part;
    EXPECT_TRUE(message.starts_with("--set " + std::string(text).substr(0, 20)) &&
                contains(message, said.starts_with(key) ? said.substr(key.size()) : said))
        << text << " -> " << message;
  }
}

TEST_F(Config, KeysOfOtherVariantsAreCheckedAndNamed) {
  const std::string with =
      replaced(kRun, "latent_dim: 16}", "latent_dim: 16, kv_heads: 2, kv_lora_rank: 8, value_heads: 4}");
  std::vector<std::string> unused = load(with).unused_attention_keys;
  std::sort(unused.begin(), unused.end());
  EXPECT_EQ(unused,
            (std::vector<std::string>{"attention.kv_heads", "attention.kv_lora_rank", "attention.value_heads"}));
  EXPECT_TRUE(load(kRun).unused_attention_keys.empty());
  const std::string mla = "attention: {type: mla, kv_lora_rank: 8, nope_dim: 8, rope_dim: 4, value_dim: 8}";
  EXPECT_EQ(
      load(replaced(kRun, kRun.substr(kRun.find("attention:"), kRun.find('}') + 1 - kRun.find("attention:")), mla))
          .unused_attention_keys,
      std::vector<std::string>{"head_dim"});
  EXPECT_TRUE(contains(refused(replaced(with, "kv_lora_rank: 8", "kv_lora_rank: x")),
                       "model.attention.kv_lora_rank: expected "));
  EXPECT_EQ(load(with, {"model.attention.type=gqa"}).config.model.attention.kv_heads, 2);
}

// ---- what is refused

TEST_F(Config, EveryProblemIsReportedAtOnce) {
  const std::string message = refused(replaced(
      replaced(replaced(kRun, "layers: 2", "layrs: 2"), "steps: 10", "steps: ten"), "head_dim: 8", "head_dim: 08"));
  const std::vector<std::string> lines = lines_of(message);
  ASSERT_GE(lines.size(), 3u) << message;
  EXPECT_TRUE(contains(message, "run.yaml:4:3: model.layrs: ") && contains(message, "did you mean model.layers?"))
      << message;
  EXPECT_TRUE(contains(message, "run.yaml:7:13: model.head_dim: expected ")) << message;
  EXPECT_TRUE(contains(message, "run.yaml:15:10: train.steps: expected ")) << message;
  for (const std::string& line : lines) EXPECT_TRUE(line.starts_with(path("run.yaml"))) << line;
}

TEST_F(Config, WhatThisBuildLacksIsRefusedByNameWithWhatThereIs) {
  for (const auto& [key, value, has] :
       std::vector<std::array<std::string, 3>>{{"train.deterministic", "false", "true"},
                                               {"train.dtype", "float16", "bfloat16"},
                                               {"train.recompute", "all", "block"},
                                               {"train.micro_batch_size", "automatic", "auto"},
                                               {"optimizer.type", "sgd", "adamw"}}) {
    const std::string message = refused(kRun, {key + "=" + value});
    EXPECT_TRUE(message.starts_with("--set " + key + "=") && contains(message, ": expected ") &&
                contains(message, has) && contains(message, value))
        << message;
    EXPECT_EQ(key == "train.deterministic", contains(message, "this build")) << message;
  }
}

TEST_F(Config, AnAutomaticMicroBatchIsWrittenAsItIsRead) {
  const RunConfig run = load(kRun, {"train.micro_batch_size=auto"}).config;
  EXPECT_EQ(run.train.micro_batch_size, kAutoMicroBatch);
  EXPECT_TRUE(contains(to_yaml(run), "micro_batch_size: auto\n"));
  EXPECT_TRUE(contains(refused(kRun, {"train.micro_batch_size=-1"}), "train.micro_batch_size"));
}

// A source is on line 11, a mutation of it is refused there with the column of what is wrong.
TEST_F(Config, EveryPartOfAMixtureMutatedIsRefusedAtItsPlaceWithAdvice) {
  const std::string good = "[{shards: train-1.h5, weight: 0.5}, {shards: [train-2.h5], weight: 1.5}]";
  ASSERT_NO_THROW(load(replaced(kRun, "[train-*.h5]", good)));
  struct Mutation {
    std::string from, to;
    int column;  // in `to`'s text, from 1
    std::string part;
  };
  std::vector<Mutation> mutations = {
      {"{shards: t", "{shard: t", 2, "data.train[0].shard: is no key; did you mean data.train[0].shards?"},
      {"weight: 0", "weigth: 0", 1, "data.train[0].weigth: is no key; did you mean data.train[0].weight?"},
      {"weight: 1.5", "weight: 1.5, wieght: 2", 14,
       "data.train[1].wieght: is no key; did you mean data.train[1].weight?"},
      {"weight: 1.5", "weight: 1.5, [a]: 2", 14, "data.train[1].: is no key"},
      {"weight: 0.5", "weight: 0.5, weight: 0.5", 14, "data.train[0].weight: is given twice"},
      {"{shards: [", "{shards: train-1.h5, shards: [", 22, "data.train[1].shards: is given twice"},
      {"{shards: train-1.h5, weight: 0.5}", "{shards: train-1.h5}", 1,
       "data.train[0].weight: is missing: expected number, above 0"},
      {"{shards: train-1.h5, weight: 0.5}", "{weight: 0.5}", 1,
       "data.train[0].shards: is missing: expected list of paths"},
      {"{shards: train-1.h5, weight: 0.5}", "{}", 1, "data.train[0].shards: is missing"},
      {"{shards: train-1.h5, weight: 0.5}", "train-1.h5", 1, "data.train[0]: expected {shards: "},
      {"{shards: train-1.h5, weight: 0.5}", "[train-1.h5]", 1, "data.train[0]: expected {shards: "},
      {"[train-2.h5]", "[]", 1, "data.train[1].shards: expected list of paths, got an empty one"},
      {"[train-2.h5]", "[[a]]", 2, "data.train[1].shards: expected list of paths"},
      {"[train-2.h5]", "{a: b}", 1, "data.train[1].shards: expected list of paths"},
      {"[train-2.h5]", "\"\"", 1, "data.train[1].shards: expected list of paths"},
      {"shards: [train-2.h5]", "shards: ", 1, "data.train[1].shards: expected list of paths, got nothing"},
      {"weight: 0.5", "weight: ", 1, "data.train[0].weight: expected number, above 0"}};
  for (const char* weight : {"0", "0.0", "-1", "-0.0", ".nan", ".inf", "-.inf", "1e400", "1e16", "word", "\"0.5\"",
                             "[1]", "{a: 1}", "0x10", "1_000", "true", "~"})
    mutations.push_back(
        {"0.5", weight, std::string(weight) == "~" ? -7 : 1, "data.train[0].weight: expected number, above 0"});
  for (const auto& [from, to, column, part] : mutations) {
    const std::string mutated = replaced(good, from, to), message = refused(replaced(kRun, "[train-*.h5]", mutated));
    const auto at = static_cast<int>(good.find(from)) + column + 9;  // "  train: " before the value
    EXPECT_TRUE(contains(message, fmt::format("run.yaml:11:{}: {}", at, part)))
        << mutated << ", column " << at << " -> " << message;
    EXPECT_TRUE(refused(kRun, {"data.train=" + mutated}).starts_with("--set data.train=")) << mutated;
  }
  // All at once.
  const std::string message =
      refused(replaced(kRun, "[train-*.h5]", "[{shards: a, weight: 0}, {shard: b, weight: -1}, c]"));
  for (const char* part : {"data.train[0].weight: ", "data.train[1].shard: ", "data.train[1].shards: is missing",
                           "data.train[1].weight: ", "data.train[2]: "})
    EXPECT_TRUE(contains(message, part)) << message;
}

TEST_F(Config, KeysThatContradictEachOtherAreRefused) {
  for (const auto& [override_text, key] : std::vector<std::pair<std::string, std::string>>{
           {"train.micro_batch_size=3", "train.micro_batch_size"},
           {"train.tokens=100", "train.steps"},
           {"train.steps=0", "train.steps"},
           {"optimizer.schedule.warmup_steps=11", "optimizer.schedule.warmup_steps"},
           {"model.head_dim=7", "model.head_dim"},
           {"model.max_sequence_length=8", "data.sequence_length"},
           {"model.attention.latent_dim=12", "model.attention.latent_dim"},
           {"model.attention.type=gqa", "model.attention.kv_heads"},
           {"model.attention.query_heads=3", "model.attention.query_heads"},
           {"name=a/b", "name"},
           {"name=.", "name"},
           {"name=..", "name"},
           {"data.tokenizer=/absent.model", "data.tokenizer"},
           {"optimizer.schedule.type=wsd", "optimizer.schedule.decay_steps"}})
    EXPECT_TRUE(contains(refused(kRun, {override_text}), ": " + key + ": ") ||
                contains(refused(kRun, {override_text}), "--set " + key + "="))
        << override_text << " -> " << refused(kRun, {override_text});
  for (const auto& [decay, fits] : {std::pair{"8", true}, {"9", false}})
    EXPECT_EQ(refused(kRun, {"optimizer.schedule.type=wsd", "optimizer.schedule.warmup_steps=2",
                             std::string("optimizer.schedule.decay_steps=") + decay}) == "",
              fits)
        << decay;
  EXPECT_TRUE(contains(refused(replaced(kRun, "[train-*.h5]", "[]")), "data.train: is missing"));
  for (const char* key : {"hidden_size", "layers", "intermediate_size", "heads", "head_dim"}) {
    const size_t at = kRun.find(std::string("  ") + key + ":"), end = kRun.find('\n', at);
    const std::string message = refused(kRun.substr(0, at) + kRun.substr(end + 1));
    EXPECT_TRUE(contains(message, std::string("model.") + key + ": is 0: expected a positive number")) << message;
  }
  for (const char* key : {"query_heads: 2", "key_heads: 1", "latent_heads: 1", "latent_dim: 16"}) {
    const std::string message = refused(replaced(kRun, std::string(", ") + key, "")),
                      name = std::string(key).substr(0, std::string(key).find(':'));
    EXPECT_TRUE(contains(message, "model.attention." + name + ": is missing: type gta needs it")) << message;
    EXPECT_EQ(lines_of(message).size(), 1u) << message;
  }
  for (const auto& [change, text] : std::vector<std::pair<std::string, std::string>>{
           {"key_heads=3", "3 does not divide query_heads 2"},
           {"latent_heads=3", "3 does not divide query_heads 2"},
           {"query_heads=3", "3 does not divide heads 4"},
           {"latent_dim=12", "12 does not divide a group's width 16 (heads 4 / query_heads 2 * head_dim 8)"}}) {
    const std::string message = refused(kRun, {"model.attention." + change});
    EXPECT_TRUE(contains(message, "--set model.attention." + change + ": " + text)) << message;
  }
  EXPECT_TRUE(contains(refused(kRun, {"model.attention.type=gqa", "model.attention.kv_heads=3"}),
                       "model.attention.kv_heads=3: 3 does not divide heads 4"));
  for (const char* key : {"name: small\n", "  steps: 10\n", "  global_batch_size: 8\n", "  tokenizer: k.model\n",
                          "  sequence_length: 16\n", "  layers: 2\n"}) {
    const std::string message = refused(replaced(kRun, key, ""));
    const std::string word = std::string(key).substr(0, std::string(key).find(':'));
    EXPECT_TRUE(contains(message, word.substr(word.find_first_not_of(' ')) + ": ")) << key << message;
  }
}

TEST_F(Config, BatchesThatHaveNoEqualPartsAreRefusedWithTheNearestThatDo) {
  const std::string file = write("run.yaml", kRun);
  const auto loaded = [&](int64_t ranks, const std::vector<std::string>& overrides) {
    return load_run_config(file, overrides, DataFiles::Expand, ranks).config.train;
  };
  const auto refused_of = [&](int64_t ranks, const std::vector<std::string>& overrides) {
    return refusal([&] { loaded(ranks, overrides); });
  };
  EXPECT_EQ(loaded(2, {}).micro_batch_size, 4);
  EXPECT_EQ(loaded(8, {"train.micro_batch_size=1"}).micro_batch_size, 1);
  EXPECT_EQ(loaded(4, {"train.micro_batch_size=auto"}).micro_batch_size, kAutoMicroBatch);
  EXPECT_EQ(load_run_config(write("bare.yaml", replaced(kRun, "  micro_batch_size: 4\n", "")), {}, DataFiles::Expand, 4)
                .config.train.micro_batch_size,
            2)
      << "all of a rank's";
  for (const auto& [ranks, micro, message] : std::vector<std::tuple<int64_t, std::string, std::string>>{
           {1, "3",
            "--set train.micro_batch_size=3: 3 does not divide train.global_batch_size 8: expected 2 or 4, or a "
            "train.global_batch_size of 6 or 9"},
           {2, "3",
            "--set train.micro_batch_size=3: 3 x 2 ranks does not divide train.global_batch_size 8: expected 2 or 4, "
            "or a train.global_batch_size of 6 or 12"},
           {2, "5",
            "--set train.micro_batch_size=5: 5 x 2 ranks does not divide train.global_batch_size 8: expected 4, or a "
            "train.global_batch_size of 10"},
           {3, "2",
            path("run.yaml") + ":16:22: train.global_batch_size: 8 is no multiple of 3 ranks x "
                               "train.micro_batch_size 2: expected 6 or 12"},
           {3, "auto",
            path("run.yaml") + ":16:22: train.global_batch_size: 8 is no multiple of 3 ranks: expected 6 or 9"}})
    EXPECT_EQ(refused_of(ranks, {"train.micro_batch_size=" + micro}), message);
  for (const char* value : {"6", "12"})
    EXPECT_NO_THROW(loaded(3, {"train.micro_batch_size=2", std::string("train.global_batch_size=") + value}));
}

// The ends of every range, from the table itself.
TEST_F(Config, NumbersOutsideTheirRangeAreRefusedAtBothEnds) {
  load(kRun);
  for (const ConfigKey& key : config_keys()) {
    const auto refuses = [&](const std::string& value) {
      const std::string message = refusal([&] { load_run_config(path("run.yaml"), {key.path + "=" + value}); });
      return contains(message, "--set " + key.path + "=" + value + ": expected " + type_text(key) + ", got ");
    };
    if (key.type == KeyType::Integer || key.type == KeyType::Count) {
      EXPECT_TRUE(refuses(fmt::format("{:.0f}", key.least - 1))) << key.path;
      EXPECT_TRUE(refuses(fmt::format("{:.0f}", key.most + 1))) << key.path;
      EXPECT_FALSE(refuses(fmt::format("{:.0f}", key.most))) << key.path;
      EXPECT_FALSE(refuses(fmt::format("{:.0f}", key.least))) << key.path;
    }
    if (key.type == KeyType::Real) {
      EXPECT_TRUE(refuses(fmt::format("{}", std::nextafter(key.most, 1e300)))) << key.path;
      EXPECT_TRUE(refuses(fmt::format("{}", std::nextafter(key.least, -1e300)))) << key.path;
      EXPECT_EQ(refuses(fmt::format("{}", key.least)), key.above_least) << key.path;
      EXPECT_FALSE(refuses(fmt::format("{}", key.most))) << key.path;
    }
  }
}

// ... all at once, and beside what is wrong with single keys.
TEST_F(Config, KeysThatContradictEachOtherAreReportedWithAllOtherProblems) {
  const std::string message =
      refused(replaced(replaced(replaced(replaced(kRun, "layers: 2", "layrs: 2"), "latent_dim: 16", "latent_dim: 12"),
                                "key_heads: 1", "key_heads: 3"),
                       "global_batch_size: 8", "global_batch_size: 010"),
              {"optimizer.schedule.warmup_steps=11", "model.max_sequence_length=8"});
  for (const char* part :
       {"run.yaml:4:3: model.layrs: ", "run.yaml:8:85: model.attention.latent_dim: 12 does not divide",
        "run.yaml:8:53: model.attention.key_heads: 3 does not", "run.yaml:16:22: train.global_batch_size: expected ",
        "--set optimizer.schedule.warmup_steps=11: 11 is more", "run.yaml:13:20: data.sequence_length: 16 is more"})
    EXPECT_TRUE(contains(message, part)) << part << " is not in\n" << message;
  EXPECT_EQ(lines_of(message).size(), 6u) << message;
}

TEST_F(Config, HostileTextIsRefused) {
  const std::string big = kRun + "#" + std::string(16 << 20, 'x') + "\n";
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "is empty: expected a mapping of keys"},
           {"[1, 2]", "run.yaml:1:1: expected a mapping of keys"},
           {"hello", "run.yaml:1:1: expected a mapping of keys"},
           {kRun + "---\nname: other\n", "holds more than one YAML document: expected one"},
           {big, "at most 16777216 are expected of such a file"},
           {kRun + std::string(1, '\0'), "run.yaml:18:1: byte 0x00 is a control character: expected text"},
           {replaced(kRun, "train:\n", "\x04train:\n"),
            "run.yaml:14:1: byte 0x04 is a control character: expected text"},
           {replaced(kRun, "small", "sm\x7Fll"), "run.yaml:1:9: byte 0x7f is a control character: expected text"},
           {replaced(kRun, "small", "sm\xFF\x80ll"), "run.yaml:1:9: byte 0xff is not UTF-8: expected UTF-8 text"},
           {replaced(kRun, "small", "sm\xC0\xAFll"), "run.yaml:1:9: byte 0xc0 is not UTF-8: expected UTF-8 text"},
           {kRun + "# \xE2\x82", "run.yaml:18:3: byte 0xe2 is not UTF-8: expected UTF-8 text"},
           {replaced(kRun, "layers: 2", "layers: &n 2"),
            "run.yaml:4:11: anchors and aliases are not used here: write the value out"},
           {replaced(kRun, "layers: 2", "layers: !!int 2"),
            "run.yaml:4:11: the tag tag:yaml.org,2002:int is not used here: remove it"},
           {kRun + "? [a]\n: 1\n", "run.yaml:18:3: a key is not a word"},
           {kRun + "seed: " + std::string(40, '[') + std::string(40, ']') + "\n",
            "is not YAML: nested more than 32 deep"}})
    EXPECT_TRUE(contains(refused(text), part)) << part << " is not in " << refused(text);
  for (const auto& [what, text] : std::vector<std::pair<std::string, std::string>>{
           {"a comma first, which gives yaml-cpp documents without end", ",name: x\n"},
           {"an alias", replaced(replaced(kRun, "layers: 2", "layers: &n 2"), "heads: 4", "heads: *n")},
           {"an alias after an apostrophe",
            replaced(replaced(replaced(kRun, "name: small", "name: it's"), "layers: 2", "layers: &n 2"), "heads: 4",
                     "heads: *n")},
           {"a merge key", kRun + "<<: {seed: 1}\n"},
           {"brackets without end", std::string(100000, '[')},
           {"an unclosed quote", replaced(kRun, "small", "\"small")}})
    EXPECT_NE(refused(text), "") << what;
}

// yaml-cpp's words for these: end of map flow not found, illegal EOF in scalar, illegal map value, ...
TEST_F(Config, WhatIsNotYamlIsSaidInWordsThatHelp) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {replaced(kRun, "small", "\"small"), "is not YAML: a quote is not closed"},
           {kRun + "seed: \"7", "is not YAML: a quote is not closed"},
           {kRun + "seed: 'it''s", "is not YAML: a quote is not closed"},
           {replaced(kRun, "[train-*.h5]", "[train-*.h5"), "is not YAML: a '[' is not closed"},
           {replaced(kRun, "latent_dim: 16}", "latent_dim: 16"), "is not YAML: a '{' is not closed"},
           {replaced(kRun, "small", "a: b"), "is not YAML: ':', '?' or '-' stands where YAML allows none"},
           {replaced(kRun, "  layers: 2", "\tlayers: 2"), "is not YAML: a tab is used to indent: use spaces"},
           {replaced(kRun, "small", "\"\\q\""), "is not YAML: a quoted text has an escape that YAML lacks"},
           {replaced(kRun, "small", "@x"), "is not YAML: expected lines of 'key: value'"}}) {
    const std::string message = refused(text);
    EXPECT_TRUE(contains(message, part)) << part << " is not in " << message;
    EXPECT_TRUE(message.starts_with(path("run.yaml") + ":")) << message;
  }
  EXPECT_TRUE(contains(refused(kRun, {"name=\"a"}),
                       "--set name=\"a: expected text; the value is not YAML: a quote is not closed"));
}

TEST_F(Config, AnOverrideOfARunsKeysChangesNothingOfAModelsFile) {
  const std::string model = write(
      "m.yaml", "hidden_size: 32\nlayers: 1\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nattention: {type: mha}\n");
  EXPECT_EQ(load_model_config(model, {"model.layers=3"}).layers, 3);
  EXPECT_TRUE(contains(refusal([&] { load_model_config(model, {"train.micro_batch_size=8"}); }),
                       "--set train.micro_batch_size=8: changes nothing: "));
  EXPECT_NO_THROW(load_model_config(write("run.yaml", kRun), {"train.micro_batch_size=4"}));
}

TEST_F(Config, AFileThatIsNotThereIsTheUsersMistake) {
  EXPECT_NE(refusal([&] { load_run_config(path("absent.yaml"), {}); }), "");
  EXPECT_NE(refusal([&] { load_model_config(path("absent.yaml"), {}); }), "");
  EXPECT_NE(refusal([&] { load_run_config(folder_.string(), {}); }), "");
  EXPECT_FALSE(is_run_config(path("absent.yaml")));
}

// ---- every key of every shipped file

struct KeyPlace {
  size_t begin, end, value;  // of the key's name and of its value, in the text
  int line, column, value_column;
  std::string path;
};

// Places of "key: value" in the block style (and one-line flow mappings) that the shipped files are written in.
std::vector<KeyPlace> keys_of(const std::string& text, const std::string& prefix) {
  std::vector<KeyPlace> places;
  std::vector<std::pair<int, std::string>> sections;  // indent, path
  size_t start = 0;
  int number = 0;
  for (const std::string& line : lines_of(text)) {
    ++number;
    const size_t indent = line.find_first_not_of(' ');
    if (indent != std::string::npos && line[indent] != '#') {
      while (!sections.empty() && sections.back().first >= static_cast<int>(indent)) sections.pop_back();
      std::string above = sections.empty() ? prefix : sections.back().second + ".";
      const auto add = [&](size_t at) {
        const size_t colon = line.find(':', at), value = line.find_first_not_of(' ', colon + 1);
        const std::string path = above + line.substr(at, colon - at);
        if (find_config_key(path))
          places.push_back({start + at, start + colon, start + value, number, static_cast<int>(at) + 1,
                            static_cast<int>(value) + 1, path});
        return std::pair{path, value};
      };
      const auto [path, value] = add(indent);
      if (value == std::string::npos) sections.emplace_back(static_cast<int>(indent), path);
      if (value != std::string::npos && line[value] == '{') {
        above = path + ".";
        for (size_t at = value + 1; at < line.size() && line[at] != '}';) {
          add(at);
          at = std::min(line.find(", ", at), line.size() - 2) + 2;
        }
      }
    }
    start += line.size() + 1;
  }
  return places;
}

std::string with_value(const std::string& text, const KeyPlace& place, const std::string& value) {
  size_t end = place.value;
  if (text[end] == '[')
    end = text.find(']', end) + 1;
  else
    end = text.find_first_of(",}\n# ", end);
  return text.substr(0, place.value) + value + text.substr(end);
}

// A key that could not be read is in no other complaint: neither as missing nor in a comparison.
TEST_F(Config, OneMistakeIsOneLine) {
  const std::string run = replaced(kRun, "latent_dim: 16}", "latent_dim: 16, kv_heads: 3}") +
                          "optimizer: {schedule: {type: wsd, warmup_steps: 2, decay_steps: 5}}\n";
  ASSERT_NO_THROW(load(run));
  for (const KeyPlace& place : keys_of(run, "")) {
    std::string misspelt = run;
    misspelt.insert(place.begin, 1, run[place.begin]);
    for (const std::string& text : {misspelt, with_value(run, place, "{a: 1}"), with_value(run, place, "")}) {
      const std::string message = refused(text);
      EXPECT_EQ(lines_of(message).size(), 1u) << place.path << ": " << message;
    }
    // The same where an included file has a good value under the bad one.
    write("base.yaml", run);
    std::string over = "include: base.yaml\n";
    const std::string path = place.path + ".";
    for (size_t at = 0, depth = 0; at < path.size(); at = path.find('.', at) + 1, depth += 2)
      over += std::string(depth, ' ') + path.substr(at, path.find('.', at) - at) + ":\n";
    over.insert(over.size() - 1, " {a: 1}");
    const std::string message = refused(over);
    EXPECT_EQ(lines_of(message).size(), 1u) << place.path << ": " << message;
  }
  EXPECT_EQ(lines_of(refused("include: absent.yaml\n")).size(), 1u);
  EXPECT_EQ(lines_of(refused(replaced(kRun, "steps: 10", "tokens: x"))).size(), 1u);
  const std::string over =
      refused("include: base.yaml\nmodel: {heads: many, attention: {query_heads: 8, latent_heads: 8, key_heads: 8}}\n");
  EXPECT_EQ(lines_of(over).size(), 1u) << "compared with the heads of the included file: " << over;
  EXPECT_EQ(lines_of(refused(replaced(kRun, "data:", "data: 7\nseed:\n"))).size(), 2u)
      << "a section that is none, and a key with nothing";
}

class Shipped : public Config, public ::testing::WithParamInterface<std::string> {
 protected:
  bool is_model() const { return contains(GetParam(), "/models/"); }
  bool is_recipe() const { return contains(GetParam(), "/recipes/"); }
  void load_text(const std::string& text) {
    if (is_recipe()) {
      // What a run includes is no run alone.
      write("configs/recipes/mutated.yaml", text);
      load_run_config(
          write("configs/runs/run.yaml", "include: ../recipes/mutated.yaml\nname: x\nmodel: ../models/gta-1b.yaml\n"),
          {}, DataFiles::Ignore);
      return;
    }
    const std::string file = write("configs/runs/mutated.yaml", text);
    if (is_model())
      load_model_config(file, {});
    else
      load_run_config(file, {}, DataFiles::Ignore);
  }
  void SetUp() override {
    Config::SetUp();
    fs::create_directories(folder_ / "configs");
    for (const char* part : {"/configs/models", "/configs/recipes"})
      fs::copy(GTA_SOURCE_DIR + std::string(part), folder_.string() + part);
  }
};

std::vector<std::string> shipped_files() {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(std::string(GTA_SOURCE_DIR) + "/configs"))
    if (entry.path().extension() == ".yaml" && !contains(entry.path().string(), "/ablations/") &&
        entry.path().filename() != "gpus.yaml")
      files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

TEST_P(Shipped, EveryKeyMutatedIsRefusedAtItsPlaceWithAdvice) {
  const std::string text = read_text(GetParam());
  ASSERT_NO_THROW(load_text(text));
  const std::vector<KeyPlace> places = keys_of(text, is_model() ? "model." : "");
  ASSERT_GE(places.size(), contains(text, "include: ") ? 1u : 9u);
  for (const KeyPlace& place : places) {
    const ConfigKey& key = *find_config_key(place.path);
    const std::string at = fmt::format("mutated.yaml:{}:", place.line);
    const auto expect = [&](const char* mutation, const std::string& mutated, int column, const std::string& part) {
      const std::string message = refusal([&] { load_text(mutated); });
      EXPECT_TRUE(contains(message, at + (column ? std::to_string(column) : "")) && contains(message, part))
          << place.path << ", " << mutation << ": " << message;
    };
    // Misspelt: a letter doubled.
    std::string misspelt = text;
    misspelt.insert(place.begin, 1, text[place.begin]);
    expect("misspelt", misspelt, place.column, "did you mean " + place.path + "?");
    // Doubled on the same line where the mapping is in one line, else on the next.
    const size_t line_end = text.find('\n', place.begin);
    const size_t line_begin =
        text.rfind('\n', place.begin) == std::string::npos ? 0 : text.rfind('\n', place.begin) + 1;
    const bool flow = text.find_first_not_of(' ', line_begin) != place.begin;
    const std::string name = text.substr(place.begin, place.end - place.begin);
    std::string doubled = text;
    if (flow)
      doubled.insert(place.begin, text.substr(place.begin, text.find_first_of(",}", place.begin) - place.begin) + ", ");
    else
      doubled.insert(line_end + 1, text.substr(line_begin, line_end + 1 - line_begin));
    const std::string message = refusal([&] { load_text(doubled); });
    EXPECT_TRUE(contains(message, place.path + ": is given twice") && contains(message, "mutated.yaml:"))
        << place.path << ": " << message;
    // Of another type.
    expect("wrong type", with_value(text, place, "{a: 1}"), place.value_column, place.path + ": expected ");
    expect("empty", with_value(text, place, ""), place.column, place.path + ": expected ");
    if (key.type == KeyType::Integer || key.type == KeyType::Count || key.type == KeyType::Real) {
      for (const char* value : {"word", "\"1\"", "[1]", ".nan", ".inf", "-.inf", "0x10", "1e400", "-1e300", "1_000",
                                "99999999999999999999999"})
        expect(value, with_value(text, place, value), place.value_column, place.path + ": expected ");
    }
    if (key.type == KeyType::Integer || key.type == KeyType::Count)
      for (const char* value : {"010", "-1", "0.5"})
        expect(value, with_value(text, place, value), place.value_column, place.path + ": expected ");
    if (key.type == KeyType::Boolean || key.type == KeyType::Choice)
      for (const char* value : {"yes", "1", "Truee"})
        expect(value, with_value(text, place, value), place.value_column, place.path + ": expected ");
    if (key.type == KeyType::RealPair)
      for (const char* value : {"[0.9]", "[0.9, 0.9, 0.9]", "[0.9, 1.5]", "[.nan, 0.9]", "[a, 0.9]", "0.9"})
        expect(value, with_value(text, place, value), 0, place.path + ": expected ");
    if (key.type == KeyType::TextList || key.type == KeyType::PathList)
      for (const char* value : {"word", "[[a]]", "[{a: 1}]"})
        expect(value, with_value(text, place, value), 0, place.path + ": expected ");
    if (key.type == KeyType::SourceList) {
      for (const char* value : {"word", "[[a]]", "[a, [b]]"})
        expect(value, with_value(text, place, value), 0, place.path + ": expected ");
      for (const char* value : {"[{a: 1}]", "[{shards: a}]", "[{shards: a, weight: 0}]", "[{shards: a, weight: 1}, b]"})
        expect(value, with_value(text, place, value), 0, place.path + "[");
    }
  }
}

TEST_P(Shipped, AnyBytesMutatedLoadOrAreRefusedAsBadInput) {
  const std::string text = read_text(GetParam());
  std::mt19937 random(7);
  const std::string alphabet = "&*!{}[]:,-#\"'\n\t |>%@`~?.0xeE\x01\x04\x7f\xff\xc3\x00";
  for (int i = 0; i < 400; ++i) {
    std::string mutated = text;
    for (int n = 1 + static_cast<int>(random() % 6); n > 0; --n) {
      const size_t at = random() % mutated.size();
      const char byte = random() % 2 ? alphabet[random() % alphabet.size()] : static_cast<char>(random());
      switch (random() % 4) {
        case 0:
          mutated[at] = byte;
          break;
        case 1:
          mutated.insert(at, 1, byte);
          break;
        case 2:
          mutated.erase(at, 1 + random() % 20);
          break;
        default:
          mutated.insert(at, mutated.substr(random() % mutated.size(), random() % 40));
      }
      if (mutated.empty()) mutated = std::string("x");
    }
    try {
      load_text(mutated);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
    } catch (const std::exception& error) {
      ADD_FAILURE() << "not an Error: " << error.what() << "\n" << mutated;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, Shipped, ::testing::ValuesIn(shipped_files()), [](const auto& info) {
  std::string name =
      fs::path(info.param).parent_path().filename().string() + "_" + fs::path(info.param).stem().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

// ---- patterns

// Each folder beside the one that its name would match as a pattern.
TEST_F(Config, OnlyWhatAKeySaysIsAPatternAndNotTheFoldersAboveItsFile) {
  const std::pair<const char*, const char*> folders[] = {{"exp[1]", "exp1"},      {"run?1", "runA1"},
                                                         {"all*", "all-of-them"}, {"b\\c", "bc"},
                                                         {"[!x]", "y"},           {"plain]", "plain"}};
  for (const auto& [folder, other] : folders) {
    SCOPED_TRACE(folder);
    for (const std::string& name : {std::string(folder), std::string(other)})
      for (const char* file : {"k.model", "train-2.h5", "train-1.h5", "validation-1.h5"}) write(name + "/" + file, "");
    const std::string run = write(std::string(folder) + "/run.yaml", kRun);
    const RunConfig c = load_run_config(run, {}).config;
    const std::string base = path(folder);
    EXPECT_EQ(c.data.train, (std::vector<DataSource>{{{base + "/train-1.h5", base + "/train-2.h5"}, 1}}));
    EXPECT_EQ(c.data.validation, std::vector<std::string>{base + "/validation-1.h5"});
    EXPECT_EQ(c.data.tokenizer, base + "/k.model");
    // The resolved file names these files and no others, from anywhere; and a file that is gone is not replaced by one
    // that looks alike.
    const std::string written = to_yaml(c), resolved = write("elsewhere/config.yaml", written);
    EXPECT_EQ(load_run_config(resolved, {}).config.data.train, c.data.train);
    EXPECT_EQ(load_run_config(resolved, {}).config.data.validation, c.data.validation);
    EXPECT_TRUE(differences(c, parse_run_config(written, "checkpoint")).empty());
    EXPECT_EQ(parse_run_config(written, "checkpoint").data.train, c.data.train);
    fs::remove(base + "/train-2.h5");
    EXPECT_TRUE(contains(refusal([&] { load_run_config(resolved, {}); }), "matches no file"));
  }
}

TEST_F(Config, SetTakesItsPatternsFromTheWorkingDirectoryWhateverThatIsCalled) {
  for (const char* name : {"run?1/train-1.h5", "runA1/train-1.h5"}) write(name, "");
  const std::string run = write("run.yaml", kRun);
  const fs::path before = fs::current_path();
  fs::current_path(path("run?1"));
  const std::vector<DataSource> train = load_run_config(run, {"data.train=[train-*.h5]"}).config.data.train;
  fs::current_path(before);
  EXPECT_EQ(train, (std::vector<DataSource>{{{path("run?1/train-1.h5")}, 1}}));
}

TEST_F(Config, AFolderThatAPatternCannotLookIntoIsSaid) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read every folder";
  write("closed/train-1.h5", "");
  fs::permissions(path("closed"), fs::perms::none);
  EXPECT_THROW(matching_files(path("c*/train-*.h5")), Error);
  fs::permissions(path("closed"), fs::perms::owner_all);
}

TEST_F(Config, ABackslashTakesACharacterOfAPatternAsItIs) {
  for (const char* name : {"part[1]/train-1.h5", "part1/train-1.h5", "train-[9].h5"}) write(name, "");
  const auto train = [&](const std::string& pattern) {
    return load(replaced(kRun, "[train-*.h5]", "['" + pattern + "']")).config.data.train;
  };
  EXPECT_EQ(train("part\\[1]/train-*.h5"), (std::vector<DataSource>{{{path("part[1]/train-1.h5")}, 1}}));
  EXPECT_EQ(train("part[1]/train-*.h5"), (std::vector<DataSource>{{{path("part1/train-1.h5")}, 1}}));
  EXPECT_EQ(train("train-\\[9].h5"), (std::vector<DataSource>{{{path("train-[9].h5")}, 1}}));
  const std::string text = refused(replaced(kRun, "[train-*.h5]", "['train-[9].h5']"));
  EXPECT_TRUE(contains(text, "write train-\\[9].h5")) << text;
}

TEST_F(Config, CheckpointsOfEarlierBuildsWroteTheirPathsAsTheyWere) {
  const RunConfig c = parse_run_config(
      replaced(replaced(kRun, "train-*.h5", "'/exp[1]/train-1.h5'"), "validation-1.h5", "'/run?1/v.h5'"), "checkpoint");
  EXPECT_EQ(c.data.train, (std::vector<DataSource>{{{"/exp[1]/train-1.h5"}, 1}}));
  EXPECT_EQ(c.data.validation, std::vector<std::string>{"/run?1/v.h5"});
}

// ---- writing

// The resolved file names each shard of a run, and there may be many.
TEST_F(Config, WhatIsWrittenForThousandsOfShardsLoadsAgain) {
  RunConfig c = load(kRun).config;
  c.data.train[0].shards.clear();
  for (int i = 0; i < 9000; ++i)
    c.data.train[0].shards.push_back(path(fmt::format("{}/train-{:05}.h5", std::string(120, 'x'), i)));
  const std::string written = to_yaml(c);
  ASSERT_GT(written.size(), 1u << 20);
  EXPECT_EQ(load_run_config(write("again.yaml", written), {}, DataFiles::Ignore).config.data.train, c.data.train);
}

TEST_F(Config, WhatIsWrittenLoadsAgainToTheSame) {
  for (const std::string& text :
       {kRun, replaced(kRun, "steps: 10", "tokens: 1M"),
        replaced(kRun, "[train-*.h5]", "[{shards: train-*.h5, weight: 0.1}, {shards: [k.model], weight: 1e-9}]"),
        replaced(kRun, "[train-*.h5]", "[{shards: train-*.h5, weight: 2}]\n  document_mask: true"),
        replaced(kRun, "name: small", "name: \"a \\\"b\\\" \\\\ #c: [d]\"") +
            "  init_from: k.model\n  sample_prompts: [\"x\\ty\\r\\n\\x07\", 'it''s', \"\\u00e9 \\x04\"]\n"}) {
    const RunConfig c = load(text).config;
    const std::string written = to_yaml(c);
    const RunConfig again = load_run_config(write("deeper/again.yaml", written), {}, DataFiles::Ignore).config;
    EXPECT_EQ(to_yaml(again), written);
    EXPECT_TRUE(differences(c, again).empty());
    EXPECT_EQ(again.train.sample_prompts, c.train.sample_prompts);
    EXPECT_EQ(again.name, c.name);
    EXPECT_EQ(again.train.steps, c.train.steps);
    EXPECT_EQ(again.data.train, c.data.train);
    const RunConfig parsed = parse_run_config(written, "checkpoint");
    EXPECT_TRUE(differences(c, parsed).empty());
  }
}

TEST_F(Config, EveryKeyIsWrittenReadAndCompared) {
  const RunConfig loaded = load(kRun).config;
  for (const ConfigKey& key : config_keys()) {
    const auto other = other_value(loaded, key);
    if (!other) continue;
    if (!key.used_by.empty()) {
      EXPECT_TRUE(differences(with_type(other->before, "mha"), with_type(other->after, "mha")).empty() ||
                  key.used_by.front() == "mha")
          << key.path;
    }
    const std::vector<ConfigDifference> found = differences(other->before, other->after);
    ASSERT_EQ(found.size(), 1u) << key.path;
    EXPECT_EQ(found[0].key, key.path);
    EXPECT_NE(found[0].before, found[0].after);
    EXPECT_TRUE(contains(to_yaml(other->after), ": " + found[0].after + "\n")) << key.path;
  }
}

TEST_F(Config, WhatWasTrainedMayNotChangeOnResume) {
  std::vector<std::string> fixed;
  for (const ConfigKey& key : config_keys())
    if (key.path.starts_with("model.")) {
      EXPECT_EQ(key.resume, OnResume::Fixed) << key.path;
    } else if (key.resume == OnResume::Fixed) {
      fixed.push_back(key.path);
    }
  EXPECT_EQ(fixed, (std::vector<std::string>{"seed", "data.sequence_length", "data.windows_across_shards",
                                             "data.document_mask", "optimizer.type", "train.deterministic"}));
}

TEST_F(Config, WarmUpMayBeAPartOfTheSchedule) {
  EXPECT_EQ(
      load(kRun, {"train.steps=30", "optimizer.schedule.warmup_fraction=0.1"}).config.optimizer.schedule.warmup_steps,
      3);
  const ScheduleConfig resolved =
      load(kRun, {"train.steps=30", "optimizer.schedule.warmup_fraction=0.05", "optimizer.schedule.steps=50"})
          .config.optimizer.schedule;
  EXPECT_EQ(resolved.warmup_steps, 3) << "2.5 rounded up";
  EXPECT_EQ(resolved.warmup_fraction, 0);
  EXPECT_TRUE(contains(refused(kRun, {"optimizer.schedule.warmup_fraction=0.1", "optimizer.schedule.warmup_steps=1"}),
                       "optimizer.schedule.warmup_fraction=0.1: expected it or warmup_steps, which is 1, not both"));
}

TEST_F(Config, TheNearestKeyIsLookedForAboveAndBelow) {
  for (const auto& [written, meant] :
       {std::pair{"schedule.warmup", "optimizer.schedule.warmup_steps or optimizer.schedule.warmup_fraction"},
        {"model.attention.kv_head", "model.attention.kv_heads"},
        {"model.attention.latent", "model.attention.latent_heads or model.attention.latent_dim"},
        {"lr", "optimizer.learning_rate"},
        {"optimizer.lr", "optimizer.learning_rate"},
        {"optimizer.wd", "optimizer.weight_decay"},
        {"optimizer.warmup_steps", "optimizer.schedule.warmup_steps"},
        {"warmup_fraction", "optimizer.schedule.warmup_fraction"},
        {"batch_size", "train.global_batch_size or train.micro_batch_size"},
        {"train.micro_batch", "train.micro_batch_size"},
        {"data.val", "data.validation"},
        {"model.type", "model.attention.type"},
        {"train.stepz", "train.steps"}})
    EXPECT_TRUE(contains(refused(kRun, {std::string(written) + "=1"}),
                         fmt::format("--set {}=1: is no key; did you mean {}?", written, meant)))
        << refused(kRun, {std::string(written) + "=1"});
  EXPECT_TRUE(contains(refused(kRun, {"zzzzzzzzzzzz=1"}),
                       "--set zzzzzzzzzzzz=1: is no key; docs/configuration.md (gta docs configuration) has them all"));
}

// What may have been meant is not missing too.
TEST_F(Config, AKeyWithTwoThatAreAsNearIsOneProblem) {
  const std::string message = refused(replaced(kRun, "latent_dim: ", "latent: "));
  EXPECT_TRUE(contains(message,
                       "model.attention.latent: is no key; did you mean model.attention.latent_heads or "
                       "model.attention.latent_dim?"))
      << message;
  EXPECT_EQ(lines_of(message).size(), 1u) << message;
}

TEST_F(Config, AWarmUpLongerThanATrialSaysWhatHelps) {
  EXPECT_TRUE(contains(refused(kRun, {"train.steps=5", "optimizer.schedule.warmup_steps=100"}),
                       "100 is more than the run's 5 steps; for a short trial give it beside: "
                       "--set optimizer.schedule.warmup_steps=1"));
  EXPECT_TRUE(
      contains(refused(kRun, {"train.steps=500", "optimizer.schedule.steps=50", "optimizer.schedule.warmup_steps=100"}),
               "100 is more than the schedule's 50 steps"));
  EXPECT_TRUE(contains(refused(kRun, {"train.steps=5", "optimizer.schedule.type=wsd"}),
                       "optimizer.schedule.decay_steps: is missing: wsd ends in a decay"));
}

TEST(ConfigurationPage, IsNotStale) {
  EXPECT_EQ(read_text(std::string(GTA_SOURCE_DIR) + "/docs/configuration.md"), configuration_markdown())
      << "launch/config/schema.cpp has changed: write docs/configuration.md again";
}

}  // namespace
}  // namespace gta
