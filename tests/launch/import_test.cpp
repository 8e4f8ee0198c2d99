// gta import: what comes back of what was exported, what goes on from it, what is refused, and models that
// transformers itself made where it is installed.
#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoints/exports/safetensors.h"
#include "launch/commands/commands.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

class Import : public SmallRun {
 protected:
  int run(const std::string& command) {
    const int status = std::system((command + " >" + folder_ + "/out.txt 2>" + folder_ + "/err.txt").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string said() const { return read_file(folder_ + "/out.txt") + read_file(folder_ + "/err.txt"); }
  // A trained model's folder in Hugging Face's form.
  std::string exported(const std::string& name, const std::string& keys, const std::string& options = "") {
    EXPECT_EQ(run(kGta + " train " + folder_ + "/run.yaml --device cpu --run-dir " + folder_ + "/" + name +
                  " --set train.steps=3 " + keys),
              0)
        << said();
    EXPECT_EQ(run(kGta + " export " + folder_ + "/" + name + " --out " + folder_ + "/" + name + "-hf" + options), 0)
        << said();
    return folder_ + "/" + name + "-hf";
  }
  int import(const std::string& from, const std::string& out, const std::string& options = "") {
    return run(kGta + " import " + from + " --out " + folder_ + "/" + out + options);
  }
  // Nothing of this name, nor a part of it.
  void expect_nothing_at(const std::string& out) {
    for (const std::string& name : list_directory(folder_)) EXPECT_FALSE(name.starts_with(out)) << name << said();
  }
  // Hash of each parameter's float32 master.
  static std::string masters(const std::string& run_or_checkpoint) {
    const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(run_or_checkpoint));
    std::vector<std::string> lines;
    for (const ManifestEntry& entry : checkpoint.entries())
      if (entry.part == "master") lines.push_back(entry.parameter + " " + hash_text(entry.hash) + "\n");
    std::sort(lines.begin(), lines.end());
    return fmt::format("{}", fmt::join(lines, ""));
  }
  // Numbers of a tensor of a file, changed in place.
  static void change(const std::string& file, const std::string& tensor, float value) {
    const SafetensorsFile open = SafetensorsFile::open(file);
    for (const SafeTensor& found : open.tensors())
      if (found.name == tensor) {
        std::string bytes = read_file(file);
        uint64_t header = 0;
        std::memcpy(&header, bytes.data(), sizeof header);
        std::memcpy(bytes.data() + sizeof header + header + static_cast<size_t>(found.begin), &value, sizeof value);
        publish_text(file, bytes);
        return;
      }
    ADD_FAILURE() << file << " has no " << tensor;
  }
  static Json json_of(const std::string& file) { return Json::parse(read_file(file)); }
};

TEST_F(Import, EveryVariantComesBackToTheBit) {
  for (const char* type : {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"})
    for (const char* keys : {"", " --set model.tie_embeddings=false --set model.attention.qkv_bias=false"}) {
      const std::string name = std::string(type) + (*keys ? "-plain" : "");
      const std::string hf = exported(name, std::string("--set model.attention.type=") + type +
                                                " --set model.rope_theta=12345.5 --set model.norm_eps=1e-5" + keys);
      ASSERT_EQ(import(hf, name + "-imported"), 0) << name << said();
      EXPECT_NE(said().find(" in float32, "), std::string::npos) << said();
      const std::string imported = folder_ + "/" + name + "-imported";
      EXPECT_EQ(masters(imported), masters(folder_ + "/" + name)) << name;
      for (const char* file : {"model.yaml", "tokenizer.model", "latest", "step-00000000/manifest.json"})
        EXPECT_TRUE(exists(imported + "/" + file)) << name << " " << file;
      const TrainingPosition position = Checkpoint::open(imported + "/latest").position();
      EXPECT_EQ(position.step + position.tokens + position.updates, 0);
      ASSERT_EQ(run(kGta + " export " + imported + " --out " + imported + "-hf"), 0) << name << said();
      for (const char* file : {"model.safetensors", "config.json", "tokenizer.model", "tokenizer.json"})
        EXPECT_EQ(read_file(imported + "-hf/" + file), read_file(hf + "/" + file)) << name << " " << file;
    }
}

TEST_F(Import, WhatFollowsFindsAllThatItNeedsInTheCheckpoint) {
  const std::string hf = exported("r", "");
  ASSERT_EQ(import(hf + "/", "new/"), 0) << said();
  EXPECT_NE(said().find("gta of GtaForCausalLM in float32"), std::string::npos) << said();
  remove_tree(hf);
  const std::string eval = " --text " + folder_ + "/text.txt --window 16 --device cpu";
  ASSERT_EQ(run(kGta + " eval " + folder_ + "/r" + eval), 0) << said();
  const std::string loss = said();
  ASSERT_EQ(run(kGta + " eval " + folder_ + "/new" + eval), 0) << said();
  EXPECT_EQ(said(), loss);
  EXPECT_EQ(run(kGta + " generate " + folder_ + "/new --prompt abc --max-tokens 3"), 0) << said();
  EXPECT_EQ(run(kGta + " inspect " + folder_ + "/new"), 0) << said();
  EXPECT_EQ(run(kGta + " plan " + folder_ + "/new/model.yaml"), 0) << said();
  // A run that is of this model by the file beside the checkpoint, which has the tokenizer too.
  std::string yaml = read_file(folder_ + "/run.yaml");
  const size_t begin = yaml.find("model:"), end = yaml.find("data:");
  yaml.replace(begin, end - begin, "model: new/model.yaml\n");
  yaml.replace(yaml.find("t.model"), 7, "new/tokenizer.model");
  publish_text(folder_ + "/on.yaml", yaml);
  ASSERT_EQ(run(kGta + " train " + folder_ + "/on.yaml --device cpu --run-dir " + folder_ +
                "/on --set train.steps=2 --set train.init_from=" + folder_ + "/new"),
            0)
      << said();
  EXPECT_NE(said().find("weights from " + folder_ + "/new/step-00000000"), std::string::npos) << said();
  // Its weights are those of a run that began with the checkpoint which was exported.
  ASSERT_EQ(run(kGta + " train " + folder_ + "/run.yaml --device cpu --run-dir " + folder_ +
                "/same --set train.steps=2 --set train.init_from=" + folder_ + "/r"),
            0)
      << said();
  EXPECT_EQ(masters(folder_ + "/on"), masters(folder_ + "/same"));
}

TEST_F(Import, ShorterNumbersAreTakenExactly) {
  for (const char* dtype : {"bfloat16", "float16"}) {
    const std::string hf = exported(dtype, "", std::string(" --dtype ") + dtype);
    ASSERT_EQ(import(hf, std::string("new-") + dtype), 0) << said();
    EXPECT_NE(said().find(std::string(" in ") + dtype), std::string::npos) << said();
    ASSERT_EQ(run(kGta + " export " + folder_ + "/new-" + dtype + " --dtype " + dtype + " --out " + hf + "-again"), 0)
        << said();
    EXPECT_EQ(read_file(hf + "-again/model.safetensors"), read_file(hf + "/model.safetensors"));
    ASSERT_EQ(run(kGta + " export " + folder_ + "/new-" + dtype + " --out " + hf + "-long"), 0) << said();
    const SafetensorsFile shorter = SafetensorsFile::open(hf + "/model.safetensors"),
                          longer = SafetensorsFile::open(hf + "-long/model.safetensors");
    ASSERT_EQ(shorter.tensors().size(), longer.tensors().size());
    for (size_t i = 0; i < shorter.tensors().size(); ++i)
      EXPECT_EQ(shorter.read(shorter.tensors()[i]), longer.read(longer.tensors()[i]));
  }
}

// The same tensors, described as the published code's configuration does.
TEST_F(Import, PublishedGtaIsTheSameModel) {
  const std::string hf = exported("r", "");
  publish_text(hf + "/config.json", R"({"architectures": ["GTAForCausalLM"], "attention_bias": false, "head_dim": 8,
    "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 16, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_query_heads": 2, "query_dim": 8,
    "num_key_heads": 1, "key_dim": 8, "num_value_heads": 1, "value_dim": 8, "rms_norm_eps": 1e-06,
    "tie_word_embeddings": true, "torch_dtype": "float32", "vocab_size": 320})");
  ASSERT_EQ(import(hf, "new"), 0) << said();
  EXPECT_NE(said().find("gta of GTAForCausalLM"), std::string::npos) << said();
  EXPECT_EQ(masters(folder_ + "/new"), masters(folder_ + "/r"));
}

TEST_F(Import, TheTokenizerMayBeNamed) {
  const std::string hf = exported("r", "");
  remove_tree(hf + "/tokenizer.model");
  EXPECT_EQ(import(hf, "new"), 2);
  EXPECT_NE(said().find("has no tokenizer.model, and its tokenizer.json is not read: name a sentencepiece model with "
                        "--tokenizer"),
            std::string::npos)
      << said();
  expect_nothing_at("new");
  EXPECT_EQ(import(hf, "new", " --tokenizer " + folder_ + "/text.txt"), 2);
  EXPECT_EQ(import(hf, "new", " --tokenizer " + folder_ + "/absent"), 2);
  EXPECT_EQ(import(hf, "new", " --tokenizer " + folder_ + "/t.model"), 0) << said();
  EXPECT_EQ(masters(folder_ + "/new"), masters(folder_ + "/r"));
}

TEST_F(Import, WhatIsNoModelIsRefusedAndLeavesNothing) {
  const std::string hf = exported("r", "--set model.attention.type=gqa"), bad = folder_ + "/bad";
  const auto refused = [&](const std::function<void()>& spoil, const std::string& reason) {
    remove_tree(bad);
    std::filesystem::copy(hf, bad, std::filesystem::copy_options::recursive);
    spoil();
    EXPECT_EQ(import(bad, "new"), 2) << reason << "\n" << said();
    EXPECT_NE(said().find(reason), std::string::npos) << reason << "\n" << said();
    expect_nothing_at("new");
  };
  const auto with = [&](const char* key, const Json& value) {
    return [&, key, value] {
      Json json = json_of(bad + "/config.json");
      json[key] = value;
      publish_text(bad + "/config.json", json.dump());
    };
  };
  const std::string weights = bad + "/model.safetensors";
  refused([&] { remove_tree(bad + "/config.json"); }, "has no config.json");
  refused([&] { remove_tree(weights); }, "has no model.safetensors");
  refused([&] { remove_tree(bad); }, "is no folder");
  refused(with("rope_scaling", Json::parse(R"({"rope_type":"yarn"})")), "rope_scaling.rope_type: expected \"default\"");
  refused(with("vocab_size", 300), "vocab_size: expected at least the tokenizer's 320 pieces, got 300");
  refused(with("vocab_size", 384), "has model.embed_tokens.weight as (320, 32), expected (384, 32)");
  refused(with("num_hidden_layers", 3), "lacks 13 of the");
  refused(with("num_hidden_layers", 1), "has model.layers.1.");
  refused(with("attention_bias", false), "bias, which LlamaForCausalLM of this config.json has not");
  refused(with("tie_word_embeddings", false), "lm_head.weight first");
  refused([&] { change(weights, "model.norm.weight", std::numeric_limits<float>::quiet_NaN()); },
          "has nan in model.norm.weight: expected weights that are finite");
  refused([&] { change(weights, "model.layers.0.self_attn.o_proj.bias", 1); },
          "has numbers in model.layers.0.self_attn");
  refused([&] { publish_text(weights, read_file(weights).substr(0, 5000)); }, "is damaged");
  refused([&] { publish_text(bad + "/tokenizer.model", ""); }, "is not a sentencepiece model");
}

TEST_F(Import, NothingIsWrittenOverAndNothingLeftBehind) {
  const std::string hf = exported("r", "");
  make_directories(folder_ + "/there");
  EXPECT_EQ(import(hf, "there"), 2);
  EXPECT_NE(said().find(folder_ + "/there is there already"), std::string::npos) << said();
  EXPECT_EQ(import(hf, "nowhere/new"), 2);
  EXPECT_NE(said().find("nowhere does not exist"), std::string::npos) << said();
  EXPECT_EQ(run(kGta + " import " + hf), 2);
  // A full disk ends it, and the half that was written goes.
  EXPECT_EQ(run("bash -c 'ulimit -f 8; trap \"\" XFSZ; exec " + kGta + " import " + hf + " --out " + folder_ + "/new'"),
            1);
  expect_nothing_at("new");
  EXPECT_EQ(list_directory(folder_ + "/there").size(), 0u);
}

// A folder as a cache of Hugging Face's has it: files are links to blobs.
TEST_F(Import, LinksOfACacheAreFollowed) {
  const std::string hf = exported("r", ""), snapshot = folder_ + "/cache/snapshots/1";
  make_directories(snapshot);
  std::filesystem::rename(hf, folder_ + "/cache/blobs");
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.model"})
    std::filesystem::create_symlink(std::string("../../blobs/") + file, snapshot + "/" + file);
  EXPECT_EQ(import(snapshot, "new"), 0) << said();
  EXPECT_EQ(masters(folder_ + "/new"), masters(folder_ + "/r"));
}

TEST_F(Import, ChangedFoldersAreTakenOrRefusedAndNothingElse) {
  const std::string hf = exported("r", ""), bad = folder_ + "/bad", file = "model-00001-of-00001.safetensors",
                    index = "model.safetensors.index.json";
  Json map;
  const SafetensorsFile whole = SafetensorsFile::open(hf + "/model.safetensors");
  for (const SafeTensor& tensor : whole.tensors()) map[tensor.name] = file;
  std::filesystem::rename(hf + "/model.safetensors", hf + "/" + file);
  publish_text(hf + "/" + index, Json{{"metadata", Json::object()}, {"weight_map", map}}.dump());
  const std::string names[] = {"config.json", index, file, "tokenizer.model"};
  int taken = 0, refused = 0;
  for (uint64_t round = 0; round < 200; ++round) {
    const RandomStream random(round, "changes");
    remove_tree(bad);
    make_directories(bad);
    for (const std::string& name : names) std::filesystem::copy(hf + "/" + name, bad + "/" + name);
    const std::string& name = names[round % 4];
    std::string bytes = read_file(bad + "/" + name);
    // The header of a file of weights is a small part of it.
    const uint64_t reach = std::min<uint64_t>(bytes.size(), round % 8 == 2 ? 3000 : ~0ull);
    if (round % 5 == 4) {
      bytes.resize(random.bits(0) % bytes.size());
    } else {
      for (uint64_t i = 1; i <= 1 + round % 3; ++i) {
        char& byte = bytes[random.bits(2 * i) % reach];
        byte = static_cast<char>(round % 2 ? random.bits(2 * i + 1) : byte ^ (1 << random.bits(2 * i + 1) % 8));
      }
    }
    publish_text(bad + "/" + name, bytes);
    const int code = import(bad, "new");
    ASSERT_TRUE(code == 0 || code == 2 || code == 3) << name << " round " << round << ": " << code << "\n" << said();
    ASSERT_EQ(exists(folder_ + "/new"), code == 0) << name << " round " << round << said();
    remove_tree(folder_ + "/new");
    expect_nothing_at("new");
    ++(code == 0 ? taken : refused);
  }
  EXPECT_GT(taken, 10);
  EXPECT_GT(refused, 50);
}

// Models that somebody else's program made, where GTA_TRANSFORMERS_PYTHON names a Python that has transformers.
TEST_F(Import, ModelsOfTransformersHaveItsLogits) {
  const char* const named = std::getenv("GTA_TRANSFORMERS_PYTHON");
  const std::string python = named ? named : "python3";
  if (run(python + " -c 'import numpy, torch, transformers'") != 0)
    GTEST_SKIP() << python << " has no transformers, torch and numpy: name one with GTA_TRANSFORMERS_PYTHON";
  for (const std::string type : {"llama", "llama-tied", "llama-bias", "qwen2", "deepseek_v2"}) {
    const std::string hf = folder_ + "/" + type, script = python + " " GTA_SOURCE_DIR "/tests/interop/import_check.py ";
    ASSERT_EQ(run(script + "make " + type + " " + hf), 0) << said();
    ASSERT_EQ(import(hf, type + "-new", " --tokenizer " + folder_ + "/t.model"), 0) << type << "\n" << said();
    ASSERT_EQ(run(kGta + " eval " + folder_ + "/" + type + "-new --device cpu --tokens " + hf +
                  "/tokens.npy --logits-out " + hf + "/ours.npy"),
              0)
        << said();
    EXPECT_EQ(run(script + "compare " + hf), 0) << type << "\n" << said();
  }
}

}  // namespace
}  // namespace gta
