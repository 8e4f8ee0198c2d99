// Token shards: HDF5 files of tokenised documents, read in place.
//
//   /tokens            uint16 (vocabulary up to 65536) or uint32, contiguous: read with pread at the dataset's offset,
//                      HDF5 not involved
//   /document_offsets  uint64 (documents + 1): document i is tokens [offset i, offset i+1)
//   /block_hashes      uint64: xxh3 of each 1 MiB of /tokens
//   /page_hashes       uint64: xxh3 of each 16 KiB of /tokens; shards of earlier builds have none
//   attributes         format_version, vocab_size, tokenizer_hash, end_of_document, text_bytes, source,
//                      header_hash: xxh3 of the offsets, the block hashes and the other attributes;
//                      page_table_hash: xxh3 of the page hashes
//
// Whatever is read is checked: a window costs the pages that it lies in (of a shard without page hashes: the blocks),
// and nothing else of the shard. The tables stay in the file (shard_table.h), and shards read through one OpenFiles
// hold no more descriptors than that.
//
// A document is BOS, its pieces, EOS (those of the two that the tokenizer has), and lies in one shard.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/io/open_files.h"
#include "data/corpus.h"
#include "data/encoded_corpus.h"
#include "data/shard_format.h"
#include "data/tokenizer.h"

namespace gta {

enum class ExistingShards : uint8_t { Refuse, Replace };

struct ShardSettings {
  std::string directory, name = "train";
  int64_t shard_tokens = 100'000'000;
  // 0 up to 1: of all documents, those whose hash says so (held_out.h) go into shards of their own, whole: validation
  // beside train, validation-NAME beside another NAME.
  double hold_out = 0;
  ExistingShards existing = ExistingShards::Refuse;
};

struct ShardReport {
  std::vector<std::string> paths, held_out_paths;
  EncodingReport encoding;  // of all documents
};

// Writes DIRECTORY/NAME-00000.h5 and so on, each of at most shard_tokens unless one document alone has more. Nothing
// appears before all are written, and the first one last: when it is there, all are. Error(BadInput) where there are
// shards of this name, unless they are to be replaced: then none of them is left. Error(BadInput) when no document is
// held out, or all are; Error(Failed) where another process writes into the folder. Holds one shard of each kind in
// memory.
ShardReport write_shards(const Tokenizer& tokenizer, const std::vector<std::string>& inputs,
                         const CorpusOptions& options, const ShardSettings& settings);

// Of the sets NAME-00000.h5, NAME-00001.h5, ... that these paths are of, a warning for each that lacks one before the
// last that is named: it was not written to its end, or is not whole any more.
void warn_of_missing_shards(const std::vector<std::string>& paths);

class TokenShard {
 public:
  // Error(BadInput) naming what is damaged. `files`: what the shard is read through, its own if none is given.
  explicit TokenShard(const std::string& path, std::shared_ptr<OpenFiles> files = nullptr);

  const ShardSummary& summary() const;
  void check_tokenizer(const Tokenizer& tokenizer) const;
  // Tokens [first, first + count). Safe from any thread. Error(BadInput) when a page does not have its hash,
  // Error(Failed) when the file cannot be read any more.
  void read(int64_t first, int64_t count, int32_t* to) const;
  // Entries [first, first + count) of /document_offsets, of which there are documents + 1.
  std::vector<uint64_t> document_offsets(int64_t first, int64_t count) const;
  // The document offsets in [first, last], ascending, each once also where empty documents repeat it.
  std::vector<uint64_t> document_starts(int64_t first, int64_t last) const;
  struct Document {
    int64_t first, end;  // tokens
  };
  Document document_of(int64_t token) const;
  void verify() const;            // every block and page
  uint64_t content_hash() const;  // of the tokens and the documents' bounds

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gta
