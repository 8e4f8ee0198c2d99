// Folders of runs as a training leaves them, of losses that the test chooses, and each of their files as it says.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "launch/compare/comparison.h"
#include "launch/config/config.h"
#include "launch/metrics.h"

namespace gta {

struct MadeRun {
  std::string type = "gqa";
  int64_t seed = 1, steps = 20, last_step = 20, evaluate_every = 5;
  double loss = 3;  // of the last validation
  double bytes_per_token = 3.25;
  std::string data = "data", tokenizer = "tokenizer";  // of which the hashes are
  SampleOrder order = SampleOrder::Shuffle;
  int64_t samples_beyond = 0;  // taken and not trained on
  std::map<std::string, std::string> environment = {
      {"gta", "0.1.0"},         {"commit", "abc"},
      {"compiler", "12.2.0"},   {"device", "cpu"},
      {"vector_width", "AVX2"}, {"products", "one"},
      {"processor", "p"},       {"command", "/home/me/gta train /home/me/x"}};
  std::map<std::string, std::string> initial = {{"model.norm.weight", "0123456789abcdef"}};  // hash by parameter
  std::optional<int64_t> initial_seed;                                                       // otherwise the seed
  std::string history;
  std::function<void(RunConfig&)> change = [](RunConfig&) {};
};

inline RunConfig config_of(const MadeRun& made) {
  RunConfig config = parse_run_config(R"(name: tiny
model:
  hidden_size: 32
  layers: 2
  intermediate_size: 48
  heads: 4
  head_dim: 8
  vocab_size: 320
  attention: {type: )" + made.type + R"(, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 8, kv_heads: 2,
              value_heads: 2, kv_lora_rank: 12, nope_dim: 8, rope_dim: 4, value_dim: 8}
data: {tokenizer: /data/t.model, train: [/data/train.h5], validation: [/data/validation.h5], sequence_length: 16}
train: {steps: )" + std::to_string(made.steps) +
                                          R"(, global_batch_size: 4}
)",
                                      "made");
  config.seed = made.seed;
  made.change(config);
  return config;
}

inline std::string metrics_of(const MadeRun& made) {
  const RunConfig config = config_of(made);
  const int64_t per_step = config.train.global_batch_size * config.data.sequence_length;
  std::string text;
  for (int64_t step = 1; step <= made.last_step; ++step) {
    const double loss = made.loss + 0.1 * static_cast<double>(made.steps - step);
    StepRow row{step, step * per_step, loss};
    row.step_seconds = 0.5;
    row.memory_bytes = 1000 + step;
    text += to_line(row);
    if (step % made.evaluate_every == 0 || step == made.steps)
      text += to_line(
          ValidationRow{step, step * per_step, loss, std::exp(loss), loss / std::numbers::ln2 / made.bytes_per_token});
  }
  return text;
}

inline std::string initial_of(const MadeRun& made) {
  nlohmann::json json = {{"seed", made.initial_seed.value_or(made.seed)}, {"parameters", nlohmann::json::object()}};
  for (const auto& [name, hash] : made.initial) json["parameters"][name] = {{"shape", {32}}, {"hash", hash}};
  return json.dump();
}

inline void make_checkpoint(const std::string& run, const MadeRun& made, const std::string& config) {
  Manifest manifest;
  TrainingPosition& at = manifest.position;
  at.step = at.updates = made.last_step;
  at.next_sample = made.last_step * config_of(made).train.global_batch_size + made.samples_beyond;
  at.order = made.order;
  at.data_hash = hash_bytes(made.data);
  manifest.config_yaml = config;
  const std::string file = rank_file_name(0, 1);
  const auto bytes = static_cast<int64_t>(made.tokenizer.size());
  manifest.files = {{file, bytes, hash_bytes(made.tokenizer)}};
  manifest.entries = {{kTokenizerPart, "", {bytes}, DType::U8, 0, bytes, file, 0, hash_bytes(made.tokenizer)}};
  const std::string folder = run + "/checkpoints/" + checkpoint_name(made.last_step);
  make_directories(folder);
  publish_text(folder + "/" + file, made.tokenizer);
  publish_text(folder + "/manifest.json", to_json(manifest));
}

inline void make_run(const std::string& folder, const MadeRun& made) {
  const std::string config = to_yaml(config_of(made)) + made.history;
  make_directories(folder);
  publish_text(folder + "/config.yaml", config);
  publish_text(folder + "/metrics.jsonl", metrics_of(made));
  publish_text(folder + "/environment.json", nlohmann::json(made.environment).dump());
  publish_text(folder + "/initial.json", initial_of(made));
  make_checkpoint(folder, made, config);
}

class MadeRuns : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-compare-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  void TearDown() override { remove_tree(folder_); }

  std::string at(const std::string& name) const { return folder_ + "/" + name; }
  std::string make(const std::string& name, const MadeRun& made) {
    make_run(at(name), made);
    return at(name);
  }
  // gqa and gta, seeds 1 to 3; change(run): of each before it is made.
  std::vector<std::string> make_six(const std::function<void(MadeRun&)>& change = [](MadeRun&) {}) {
    std::vector<std::string> runs;
    for (const std::string type : {"gqa", "gta"})
      for (const int64_t seed : {1, 2, 3}) {
        MadeRun made;
        made.type = type;
        made.seed = seed;
        made.loss =
            3 + 0.1 * static_cast<double>(seed) + (type == "gta" ? -0.02 - 0.001 * static_cast<double>(seed) : 0.0);
        change(made);
        runs.push_back(make(type + "-" + std::to_string(seed), made));
      }
    return runs;
  }
  static Comparison compare_runs(const std::vector<std::string>& runs, const CompareOptions& options = {}) {
    return compare(read_runs(runs), options);
  }

  std::string folder_;
};

inline std::string text_of(const std::vector<Remark>& remarks) {
  std::string text;
  for (const Remark& remark : remarks) text.append(remark.kind).append(": ").append(remark.text).append("\n");
  return text;
}

}  // namespace gta
