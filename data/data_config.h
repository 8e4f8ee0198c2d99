// What `data:` says. Paths are absolute once launch/config has resolved them; globs are expanded, sorted, and have matched at least once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gta {

struct DataConfig {
  std::string tokenizer;                // a sentencepiece .model
  std::vector<std::string> train;       // token shards
  std::vector<std::string> validation;  // may be empty
  int64_t sequence_length = 0;          // a training sample is sequence_length + 1 tokens
};

}  // namespace gta
