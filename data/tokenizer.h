// Tokenizers: sentencepiece models, trained here or elsewhere (Llama 2, TinyLlama). The library itself stands behind
// tokenizer.cpp and tokenizer_training.cpp alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/token_piece.h"

namespace gta {

struct CorpusOptions;
class CutPlaces;

class Tokenizer {
 public:
  static Tokenizer load(const std::string& path);                           // Error(BadInput) when it is no tokenizer
  static Tokenizer from_bytes(std::string bytes, const std::string& name);  // name: for messages

  // Without BOS and EOS. Error(BadInput) when the text is not UTF-8: sentencepiece would change it silently.
  std::vector<int32_t> encode(std::string_view text) const;
  // BOS, the pieces, EOS (those of the two that the tokenizer has; Error(BadInput) without either): a document as
  // shards hold it.
  std::vector<int32_t> encode_document(std::string_view text) const;
  void require_document_token() const;  // that Error
  // The tokens of a segment of a text (text_cutter.h): those of its segments, one after the other, are encode() of the
  // whole. Memory is about 100 times the segment's. Safe from any thread. The text is UTF-8.
  std::vector<int32_t> encode_segment(std::string_view text, bool first, bool last) const;
  const CutPlaces& cut_places() const;
  // decode(encode(text)) == text where gives_text_back(). Control tokens give nothing.
  std::string decode(std::span<const int32_t> ids) const;
  // It has a piece for every byte, changes no character and joins no spaces (ours, Llama 2): no text is lost. U+2581,
  // sentencepiece's own mark for a space, is then spelt in bytes.
  bool gives_text_back() const;
  int64_t vocab_size() const;
  // The vocabulary, for exports. A token that is not there is an Error.
  const TokenPiece& piece(int32_t id) const;
  TokenizerKind kind() const;
  bool joins_spaces() const;         // several spaces become one, those at the ends go
  bool normalises() const;           // characters become others
  int32_t unknown() const;           // the token for what has no piece, -1 without one
  int32_t padding() const;           // -1 without one
  int32_t bos() const;               // begin-of-document token, -1 without one
  int32_t eos() const;               // end-of-document token, -1 without one
  uint64_t hash() const;             // xxh3 of the file
  const std::string& bytes() const;  // the file
  // Bytes of text that a token stands for: 0 for control tokens, 1 for a byte-fallback piece; the space mark counts as
  // one space.
  int64_t token_bytes(int32_t id) const;
  // Encoding puts a space before the text (Llama does): a document's first piece then carries one that the text does
  // not have.
  bool adds_space() const;
  bool starts_with_space(int32_t id) const;
  // The text of one token, the space mark as a space: part of a character for a byte-fallback piece.
  const std::string& token_text(int32_t id) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

struct TokenizerTraining {
  // of words and how often they come: beyond it, of rare words an even sample is used
  int64_t table_bytes = int64_t{1} << 28;
  std::chrono::steady_clock::duration between_reports = std::chrono::seconds(10);  // of progress, to the log
  bool split_digits = false;                                                       // each a piece of its own
  // Pieces whatever the text has; where a text has one, it is one token. Without white space.
  std::vector<std::string> user_symbols = {};
  // 0.98 to 1: the part of all characters of the text, the frequent ones first, whose kinds get a piece. The others are
  // spelt in bytes.
  double character_coverage = 0.9999;
  // Of text from files: the part, in blocks of whole lines by their hash, that is not trained on, to see what the
  // tokenizer makes of text that it does not know.
  double hold_out = 0.02;
};

inline constexpr size_t kHeldOutBlock = 4096;  // bytes, and to the end of the line

// Trains byte-pair encoding with byte fallback on text as it is (no normalisation, spaces kept), so that nothing is
// lost. A piece has spaces at its beginning alone, one before a word, or is of white space throughout; line ends and
// tabs join each other and punctuation before them. The same text gives the same file on any machine. `output` appears
// whole or not at all. Error(BadInput) when the text is too small for so many pieces.
void train_tokenizer(const std::vector<std::string>& documents, int64_t vocab_size, const std::string& output,
                     const TokenizerTraining& training = {});

struct TokenizerReport {
  int64_t documents = 0;
  // Of what was held out, or of an even sample of it of 4 MiB; without BOS and EOS. 0: the text has too few blocks.
  int64_t held_out_bytes = 0, held_out_tokens = 0;
};

// The same on files of any size in bounded memory, about 0.7 GiB at most.
TokenizerReport train_tokenizer(const std::vector<std::string>& inputs, const CorpusOptions& options,
                                int64_t vocab_size, const std::string& output, const TokenizerTraining& training = {});

// Text of tokens that come one at a time, in whole characters. All that push() and finish() give is decode() of the
// same tokens, but for bytes that are no UTF-8 (a model may pick any), which become U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer), drop_space_(tokenizer.adds_space()) {}
  std::string push(int32_t id);
  std::string finish();  // of a last character that was not completed

 private:
  std::string take(bool at_end);

  Tokenizer tokenizer_;
  std::string pending_;
  bool drop_space_;
};

}  // namespace gta
