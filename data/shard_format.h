// What the writer and the reader of token shards (shards.h) agree on.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/io/hash.h"

namespace gta {

struct ShardSummary {
  std::string path, source;
  int64_t tokens = 0, documents = 0, text_bytes = 0, vocab_size = 0, end_of_document = -1;
  uint64_t tokenizer_hash = 0;
};

namespace shard_format {

inline constexpr int64_t kVersion = 1;
// Of /tokens: what is hashed together. Blocks name the content; pages are what a reader of short windows reads and
// checks.
inline constexpr int64_t kBlockBytes = 1 << 20;
inline constexpr int64_t kPageBytes = 1 << 14;

inline int64_t pieces(int64_t bytes, int64_t of) { return (bytes + of - 1) / of; }

// `tables`: the hash of /document_offsets and /block_hashes, one after the other, which is the hash of the content.
inline uint64_t hash_header(const ShardSummary& summary, uint64_t tables) {
  Hasher hasher;
  const uint64_t values[] = {static_cast<uint64_t>(kVersion),
                             static_cast<uint64_t>(summary.vocab_size),
                             static_cast<uint64_t>(summary.end_of_document),
                             static_cast<uint64_t>(summary.text_bytes),
                             summary.tokenizer_hash,
                             tables};
  hasher.update(values, sizeof values);
  hasher.update(summary.source.data(), summary.source.size());
  return hasher.digest();
}

}  // namespace shard_format
}  // namespace gta
