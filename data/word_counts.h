// How often each word of a text comes: all that the trainer of a tokenizer needs of it (tokenizer_training.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/io/hash.h"

namespace gta {

// A word is the spaces before it, itself, and the line ends and tabs behind it. No piece of a vocabulary crosses the
// places between, since sentencepiece joins no letters and line ends: behind a letter these are words of their own.
//
// Memory is bounded: when there are too many different words, of the rare ones (met rare_ times or fewer) those of one
// half of all hashes go, and the others stand for them; when the rare ones are few, twice as many count as rare. What
// is frequent all stays, what is rare is an even sample of it, whatever its place in the text.
class WordCounts {
 public:
  // The trainer takes a tab for its own: it sees this character, which no text has here.
  static constexpr char kTab = '\1';

  explicit WordCounts(int64_t most_bytes) : most_bytes_(most_bytes) {}

  // A document or a part of one, cut between characters.
  void add(std::string_view text);
  void end_word();  // what comes next does not continue it
  void end_document();
  bool has_text() const { return has_text_; }  // other than white space

  // As the trainer reads them: "word\tcount", sorted; the table is then empty.
  std::vector<std::string> take();

 private:
  enum class Kind : uint8_t { Space, Break, Control, Letter };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return hash_bytes(word.data(), word.size()); }
  };

  static Kind kind_of(char c);
  bool begins_word(char c, Kind kind) const;
  template <class Size>
  int64_t shrink(Size size, int64_t most);

  std::string open_ = " ";  // the word that has no end yet; encoding puts a space before a document
  Kind last_ = Kind::Space;
  bool has_text_ = false;
  int64_t most_bytes_, bytes_ = 0, rare_ = 1;
  int halvings_ = 0;
  uint64_t highest_ = UINT64_MAX;  // hash of a rare word that stays
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> counts_;
};

}  // namespace gta
