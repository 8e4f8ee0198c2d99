// Text files as tokens: read, encoded by all threads batch by batch, and handed on in order, so that the result does
// not depend on them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/document_lengths.h"
#include "data/tokenizer.h"

namespace gta {

// Of a document: BOS is in its first part, EOS in its last.
struct EncodedPart {
  std::vector<int32_t> ids;
  int64_t text_bytes = 0;  // that came in, whatever the tokens stand for
  bool ends_document = false;
  // In the last part: xxh3 of the document's text without the line ends at its end, which depend on what follows it.
  uint64_t document_hash = 0;
};

// What became of the text.
struct EncodingReport {
  int64_t documents = 0, text_bytes = 0;
  DocumentLengths bytes, tokens;  // of each document; its tokens with BOS and EOS
  CorpusNotes notes;
  int64_t token_bytes = 0;        // that the tokens stand for
  int64_t changed = 0;            // documents that the tokens do not give back
  std::string first_changed;      // "FILE:LINE" where the first of these was read
  std::string lost_text() const;  // a sentence, or "" when all of it comes back
};

// Memory is bounded: some MiB for each thread, and what CorpusReader holds.
EncodingReport encode_corpus(const Tokenizer& tokenizer, const std::vector<std::string>& inputs,
                             const CorpusOptions& options, const std::function<void(const EncodedPart&)>& take);

}  // namespace gta
