// Shards as most tests want them: no document held out, and over whatever is there.
#pragma once

#include <string>
#include <vector>

#include "data/shards.h"

namespace gta {

inline std::vector<std::string> write_shards(const Tokenizer& tokenizer, const std::vector<std::string>& inputs,
                                             const CorpusOptions& options, const std::string& directory,
                                             const std::string& name, int64_t shard_tokens = 100'000'000) {
  return write_shards(tokenizer, inputs, options, {directory, name, shard_tokens, 0, ExistingShards::Replace}).paths;
}

}  // namespace gta
