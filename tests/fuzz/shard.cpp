// A token shard: the HDF5 layer below it, then the shard, every token of it.
#include <vector>

#include "core/io/hdf5.h"
#include "data/shards.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_shard(const std::string& bytes) {
  const std::string path = scratch_file("shard.h5", bytes);
  taken([&] {
    const hdf5::Reader reader(path);
    for (const auto& entry : reader.datasets()) {
      const std::string& name = entry.first;
      expect(entry.second.bytes() <= static_cast<int64_t>(bytes.size()), "a dataset is larger than its file");
      taken([&] { reader.read_double(name); });
      taken([&] { reader.read_int32(name); });
      taken([&] { reader.read_uint64(name); });
    }
    for (const char* name : {"format_version", "source", "header_hash"}) {
      taken([&] { reader.integer(name); });
      taken([&] { reader.real(name); });
      taken([&] { reader.text(name); });
    }
  });
  return taken([&] {
    const TokenShard shard(path);
    const ShardSummary& summary = shard.summary();
    shard.verify();
    std::vector<int32_t> tokens(static_cast<size_t>(summary.tokens));
    shard.read(0, summary.tokens, tokens.data());
    for (const uint64_t start : shard.document_starts(0, summary.tokens))
      expect(static_cast<int64_t>(start) <= summary.tokens, "a document begins behind the end");
    for (const int32_t token : tokens)
      expect(token >= 0 && token < summary.vocab_size, "a token is outside the vocabulary");
    const std::vector<uint64_t> offsets = shard.document_offsets(0, summary.documents + 1);
    expect(static_cast<int64_t>(offsets.back()) == summary.tokens, "the documents do not end with the tokens");
  });
}

}  // namespace gta::fuzz
