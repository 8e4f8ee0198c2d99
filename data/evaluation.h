// A fixed set of tokens to score: windows of sequence_length inputs one after the other, each token after the first of
// a document scored exactly once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace gta {

class EvaluationSet {
 public:
  // The first most_tokens scored tokens (0: all) of the shards in order.
  static EvaluationSet from_shards(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                   int64_t sequence_length, int64_t most_tokens);
  // Of text files (corpus.h), one document each or split by a separator.
  static EvaluationSet from_files(const std::vector<std::string>& inputs, const CorpusOptions& options,
                                  const Tokenizer& tokenizer, int64_t sequence_length, int64_t most_tokens);
  // One document.
  static EvaluationSet from_text(const std::string& text, const Tokenizer& tokenizer, int64_t sequence_length);

  int64_t windows() const;
  // Inputs of a window: what was asked for, or all tokens there are where they are fewer.
  int64_t sequence_length() const { return sequence_length_; }
  int64_t scored_tokens() const { return scored_tokens_; }
  // Bytes of text that the scored tokens were made of, also where the tokenizer loses some. Of whole documents, the
  // bytes of their text; but a tokenizer without BOS leaves each document's first piece unscored. Of a part of a shard
  // whose tokenizer loses text, the share of its tokens in the shard's bytes.
  int64_t scored_bytes() const { return scored_bytes_; }
  // Of from_files(): what of the text its tokens do not give back, a sentence (encoded_corpus.h), or "".
  const std::string& lost_text() const { return lost_text_; }
  // sequence_length inputs, labels, and first rows of the row's document (document_mask.h; null: not wanted). Label
  // kNoLabel: not scored (a document's first token, or beyond the end).
  void window(int64_t index, int32_t* tokens, int32_t* labels, int32_t* document_starts = nullptr) const;

 private:
  EvaluationSet(const Tokenizer& tokenizer, int64_t sequence_length, int64_t most_tokens);
  EvaluationSet&& complete() &&;
  bool full() const { return most_tokens_ > 0 && scored_tokens_ >= most_tokens_; }
  void add_tokens(const std::vector<int32_t>& ids, bool begins_document);  // bytes: those that the tokens stand for
  void add_text(const std::vector<int32_t>& ids, bool begins_document, int64_t text_bytes);

  Tokenizer tokenizer_;
  int64_t sequence_length_, most_tokens_;
  std::vector<int32_t> tokens_;
  std::vector<bool> scored_;  // token i is scored as a label: it is no document's first
  int64_t scored_tokens_ = 0, scored_bytes_ = 0;
  std::string lost_text_;
};

}  // namespace gta
