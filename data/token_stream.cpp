#include "data/token_stream.h"

#include <algorithm>

#include "core/error.h"

namespace gta {

TokenStream::TokenStream(std::vector<TokenShard> shards) : shards_(std::move(shards)), starts_{0} {
  for (const TokenShard& shard : shards_) starts_.push_back(starts_.back() + shard.summary().tokens);
}

template <class F>
void TokenStream::each_shard(int64_t first, int64_t last, F&& f) const {
  const auto begin = std::upper_bound(starts_.begin(), starts_.end(), first) - starts_.begin() - 1;
  for (auto i = static_cast<size_t>(begin); i < shards_.size() && starts_[i] <= last; ++i) f(shards_[i], starts_[i]);
}

void TokenStream::read(int64_t first, int64_t count, int32_t* to) const {
  if (first < 0 || count < 0 || first > tokens() || count > tokens() - first)
    fail("data", "{} shards have {} tokens, asked for {} from {}", shards(), tokens(), count, first);
  each_shard(first, first + count - 1, [&](const TokenShard& shard, int64_t start) {
    const int64_t from = std::max(first, start), end = std::min(first + count, start + shard.summary().tokens);
    shard.read(from - start, end - from, to + (from - first));
  });
}

std::vector<uint64_t> TokenStream::document_starts(int64_t first, int64_t last) const {
  std::vector<uint64_t> found;
  each_shard(first, last, [&](const TokenShard& shard, int64_t start) {
    for (const uint64_t offset : shard.document_starts(first - start, last - start)) {
      const uint64_t at = offset + static_cast<uint64_t>(start);
      if (found.empty() || found.back() != at) found.push_back(at);  // a shard's end is the next one's beginning
    }
  });
  return found;
}

}  // namespace gta
