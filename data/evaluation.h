// A fixed set of tokens to score: windows of sequence_length inputs, each token after the first of a document scored
// once, whole or in part.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace gta {

class EvaluationSet {
 public:
  // The shards in order; or, where they have more than most_tokens (0: all) to score, windows that begin at equal
  // distances all over them, of most_tokens scored tokens at most: always the same.
  static EvaluationSet from_shards(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                   int64_t sequence_length, int64_t most_tokens);
  // Of text files (corpus.h), one document each or split by a separator.
  static EvaluationSet from_files(const std::vector<std::string>& inputs, const CorpusOptions& options,
                                  const Tokenizer& tokenizer, int64_t sequence_length);
  // One document.
  static EvaluationSet from_text(const std::string& text, const Tokenizer& tokenizer, int64_t sequence_length);

  // The same tokens, scored in windows that begin `stride` tokens apart: each is scored once, in the first window that
  // reaches it, with sequence_length - stride + 1 tokens before it at least where there are so many. For sets that are
  // whole. Error(BadInput) unless 1 <= stride <= sequence_length.
  EvaluationSet with_stride(int64_t stride) const;

  uint64_t hash() const;  // of all that is scored, and how
  int64_t windows() const { return static_cast<int64_t>(windows_.size()); }
  // Inputs of a window: what was asked for, or all tokens there are where they are fewer.
  int64_t sequence_length() const { return sequence_length_; }
  int64_t scored_tokens() const { return scored_tokens_; }
  // Of the whole that these are a part of.
  int64_t tokens_in_all() const { return std::max(tokens_in_all_, scored_tokens_); }
  // Bytes of text that the scored tokens were made of, also where the tokenizer loses some. Of whole documents, the
  // bytes of their text; but a tokenizer without BOS leaves each document's first piece unscored. Of a part of shards
  // whose tokenizer loses text, the share of its tokens in the shards' bytes.
  int64_t scored_bytes() const { return scored_bytes_; }
  // Of from_files(): what of the text its tokens do not give back, a sentence (encoded_corpus.h), or "".
  const std::string& lost_text() const { return lost_text_; }
  // sequence_length inputs, labels, first rows of the row's document (document_mask.h; null: not wanted), and how many
  // tokens the label's document has, of which a window may show a part (null: not wanted; 0 without a label). Label
  // kNoLabel: not scored (a document's first token, or beyond the end).
  void window(int64_t index, int32_t* tokens, int32_t* labels, int32_t* document_starts = nullptr,
              int64_t* document_tokens = nullptr) const;

 private:
  enum class Place : uint8_t { First, Second, Later };  // of a token in its document
  struct Window {
    size_t first;
    int64_t labels;
    int64_t seen = 0;  // the first so many of them were scored in the window before
  };

  struct Document {
    size_t first;    // of tokens_
    int64_t tokens;  // that it has, here or not
  };

  EvaluationSet(const Tokenizer& tokenizer, int64_t sequence_length);
  void add_token(int32_t id, Place place);
  void add_text(const std::vector<int32_t>& ids, bool begins_document, int64_t text_bytes);
  // What was added since token `first`, which is context alone, becomes windows.
  void add_windows(size_t first);
  EvaluationSet&& complete() &&;

  Tokenizer tokenizer_;
  int64_t sequence_length_;
  std::vector<int32_t> tokens_;
  std::vector<bool> scored_;         // token i is scored as a label: it is no document's first
  std::vector<Document> documents_;  // in the order of their first tokens
  std::vector<Window> windows_;
  int64_t scored_tokens_ = 0, scored_bytes_ = 0;  // bytes: those that the tokens stand for
  int64_t tokens_in_all_ = 0;
  std::string lost_text_;
};

}  // namespace gta
