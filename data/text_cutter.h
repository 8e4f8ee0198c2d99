// Where a long text may be cut so that its parts, encoded each on its own, give the tokens of the whole.
//
// Byte-pair merges and the best path of a unigram model are local: no token crosses a place between two characters that
// stand side by side in no piece of the vocabulary. A model that changes characters or spaces before it looks at them
// is cut only between an ASCII character and the space after it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "data/sentencepiece_check.h"

namespace gta {

class CutPlaces {
 public:
  // pieces: as the model has them, but control pieces, bytes and the unknown one.
  CutPlaces(const SentencepieceSettings& settings, const std::vector<std::string>& pieces);
  // Between two characters of a text, the second one's next (0: the end) known.
  bool allow(uint32_t left, uint32_t right, uint32_t next) const;

 private:
  bool side_by_side(uint32_t left, uint32_t right) const { return pairs_.contains(uint64_t{left} << 32 | right); }

  SentencepieceSettings settings_;
  std::unordered_set<uint64_t> pairs_;
  std::unordered_set<uint32_t> known_;  // characters that are pieces
  bool space_within_ = false;           // some piece has a space after another character
};

// Cuts a text that comes in parts; where it is cut depends on the text alone. A segment is kSegment bytes and what
// follows up to the next place that allows a cut. After kLongest bytes without one it ends between any two characters:
// no text is lost by it, it is a token more.
class TextCutter {
 public:
  static constexpr size_t kSegment = 1 << 15, kLongest = 1 << 20;

  explicit TextCutter(const CutPlaces& places) : places_(places) {}
  void push(std::string_view text) { text_ += text; }
  // The next segment of what was pushed; false when it needs more text to be found. At the end the rest is a segment,
  // unless it is empty.
  bool next(std::string& segment, bool at_end);
  bool empty() const { return begin_ == text_.size(); }  // the last segment of a text leaves nothing, all others do

 private:
  const CutPlaces& places_;
  std::string text_;
  size_t begin_ = 0, looked_ = 0;  // of text_; no place from begin_ + kSegment to looked_
};

}  // namespace gta
