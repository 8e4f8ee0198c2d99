// Token shards read as one run of tokens, one shard after the other: what windows are cut from.
#pragma once

#include <cstdint>
#include <vector>

#include "data/shards.h"

namespace gta {

class TokenStream {
 public:
  explicit TokenStream(std::vector<TokenShard> shards);  // of one tokenizer

  int64_t tokens() const { return starts_.back(); }
  int64_t shards() const { return static_cast<int64_t>(shards_.size()); }
  // Tokens [first, first + count); errors as of TokenShard::read().
  void read(int64_t first, int64_t count, int32_t* to) const;
  // Where documents begin in [first, last], ascending, each once; and the end of the last document. A shard begins with
  // a document.
  std::vector<uint64_t> document_starts(int64_t first, int64_t last) const;

 private:
  // f(shard, its first token in the stream) for every shard with tokens in [first, last].
  template <class F>
  void each_shard(int64_t first, int64_t last, F&& f) const;

  std::vector<TokenShard> shards_;
  std::vector<int64_t> starts_;  // first token of each shard, and their total
};

}  // namespace gta
