// Tokenizers: sentencepiece models, trained here or elsewhere (Llama 2, TinyLlama).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gta {

class Tokenizer {
 public:
  static Tokenizer load(const std::string& path);                            // Error(BadInput) when it is no tokenizer
  static Tokenizer from_bytes(std::string bytes, const std::string& name);  // name: for messages

  std::vector<int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;
  int64_t vocab_size() const;
  int32_t bos() const;  // begin-of-document token, -1 without one
  int32_t eos() const;  // end-of-document token, -1 without one
  uint64_t hash() const;             // xxh3 of the file
  const std::string& bytes() const;  // the file
  // Bytes of text that a token stands for: 0 for control tokens, 1 for a byte-fallback piece; the space mark counts as one space.
  int64_t token_bytes(int32_t id) const;
  // Encoding puts a space before the text; a document's first piece then carries one that the text does not have.
  bool starts_with_space(int32_t id) const;
  // The text of one token, the space mark as a space: part of a character for a byte-fallback piece.
  std::string token_text(int32_t id) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

// BPE with byte fallback on text as it is (no normalisation, spaces kept), so that decode(encode(text)) == text. The same pieces on any
// machine. Appears whole or not at all. Error(BadInput) when the text is too small for so many pieces.
void train_tokenizer(const std::vector<std::string>& documents, int64_t vocab_size, const std::string& output);

// Text of tokens that come one at a time, in whole UTF-8 characters.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int32_t id);

 private:
  Tokenizer tokenizer_;
  std::string pending_;
};

}  // namespace gta
