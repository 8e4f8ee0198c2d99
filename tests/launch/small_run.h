// A model of a few thousand parameters, a text made here, and the program: what the tests of whole commands begin with.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/parameter_space.h"
#include "core/random.h"
#include "data/shards.h"
#include "launch/train_hooks.h"
#include "tests/write_shards.h"

namespace gta {

inline const std::string kGta = GTA_BINARY;

// One number of a flat tensor, on whatever device it is.
inline void set(const Tensor& flat, int64_t index, float value) {
  flat.column_slice(index, 1).copy_from(Tensor::from<float>({1}, {value}));
}

struct WatchedRun : TrainOptions, TrainHooks {};
inline TrainResult train(const LoadedRun& run, const WatchedRun& watched) { return train(run, watched, watched); }

class SmallRun : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-training-XXXXXX";
    folder_ = mkdtemp(pattern);
    const RandomStream random(7, "text");
    std::string text;
    for (uint64_t i = 0; i < 6000; ++i)
      text += std::string(1, static_cast<char>('a' + random.bits(i) % 17)) +
              (random.bits(i + 100000) % 4 == 0 ? " " : "") + (i % 60 == 59 ? "\n" : "");
    publish_text(folder_ + "/text.txt", text);
    train_tokenizer({text}, 320, folder_ + "/t.model");
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/text.txt"}, {}, folder_ + "/shards", "train");
    // Many documents, some longer than a sample.
    std::string documents;
    for (size_t at = 0, i = 0, length = 0; at + 60 < text.size(); at += length, ++i) {
      length = i % 7 == 6 ? 30 : 1 + i % 5;
      documents += text.substr(at, length) + "\n\n";
    }
    publish_text(folder_ + "/documents.txt", documents);
    CorpusOptions separated;
    separated.document_separator = "";
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/documents.txt"}, separated, folder_ + "/shards",
                 "documents");
    publish_text(folder_ + "/run.yaml", R"(name: tiny
model:
  hidden_size: 32
  layers: 2
  intermediate_size: 48
  heads: 4
  head_dim: 8
  attention: {type: gta, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 8, kv_heads: 2, value_heads: 2,
              kv_lora_rank: 12, nope_dim: 8, rope_dim: 4, value_dim: 8}
data:
  tokenizer: t.model
  train: [shards/train-*.h5]
  validation: [shards/train-*.h5]
  sequence_length: 16
optimizer:
  learning_rate: 1.0e-2
  schedule: {type: cosine, warmup_steps: 2}
train:
  steps: 12
  global_batch_size: 4
  micro_batch_size: 2
  validation_tokens: 100
  checkpoint: {every_steps: 3, keep: 3}
)");
  }
  void TearDown() override { remove_tree(folder_); }

  LoadedRun load(const std::vector<std::string>& overrides = {}) {
    return load_run_config(folder_ + "/run.yaml", overrides);
  }
  WatchedRun options(const std::string& run) {
    WatchedRun options;
    options.run_dir = folder_ + "/" + run;
    return options;
  }
  // Exit code of `gta ARGUMENTS`.
  int gta(const std::string& arguments) {
    const int status =
        std::system((kGta + " " + arguments + " >>" + folder_ + "/out.txt 2>>" + folder_ + "/err.txt").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string errors() { return exists(folder_ + "/err.txt") ? read_file(folder_ + "/err.txt") : ""; }
  std::string weights(const std::string& run) {
    const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(folder_ + "/" + run));
    std::string text = std::to_string(checkpoint.position().step);
    for (const ManifestEntry& entry : checkpoint.entries()) text.append(" ").append(hash_text(entry.hash));
    return text;
  }

  std::string folder_;
};

}  // namespace gta
