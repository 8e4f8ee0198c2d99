// What `data:` says. Paths are absolute once launch/config has resolved them; globs are expanded, sorted, and have
// matched at least once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gta {

// Token shards that samples are drawn from; of all samples, the share weight / (sum of the sources' weights).
struct DataSource {
  std::vector<std::string> shards;
  double weight = 1;
  friend bool operator==(const DataSource&, const DataSource&) = default;
};

struct DataConfig {
  std::string tokenizer;                // a sentencepiece .model
  std::vector<DataSource> train;        // more than one: a mixture
  std::vector<std::string> validation;  // token shards; may be empty
  int64_t sequence_length = 0;          // a training sample is sequence_length + 1 tokens
  bool windows_across_shards = false;   // a sample may begin in one shard and end in the next of its source
  bool document_mask = false;           // tokens see their own document only, also in evaluation (document_mask.h)
};

}  // namespace gta
