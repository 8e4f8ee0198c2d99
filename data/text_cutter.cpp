#include "data/text_cutter.h"

#include <algorithm>

#include "data/utf8.h"

namespace gta {
namespace {

constexpr uint32_t kSpaceMark = 0x2581;

// The character that begins at `at`, which moves behind it. The text is UTF-8.
uint32_t take_character(std::string_view text, size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  uint32_t character = length == 1 ? lead : lead & (0x7fu >> length);
  for (size_t i = 1; i < length && at + i < text.size(); ++i)
    character = character << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3f);
  at = std::min(text.size(), at + length);
  return character;
}

size_t length_of(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

}  // namespace

CutPlaces::CutPlaces(const SentencepieceSettings& settings, const std::vector<std::string>& pieces)
    : settings_(settings) {
  for (const std::string& piece : pieces) {
    if (find_bad_utf8(piece) >= 0) continue;  // no text has it
    uint32_t last = 0;
    for (size_t at = 0; at < piece.size();) {
      const bool first = at == 0;
      const uint32_t character = take_character(piece, at);
      if (!first) pairs_.insert(uint64_t{last} << 32 | character);
      if (!first && character == kSpaceMark && last != kSpaceMark) space_within_ = true;
      if (first && at == piece.size()) known_.insert(character);
      last = character;
    }
  }
}

bool CutPlaces::allow(uint32_t left, uint32_t right, uint32_t next) const {
  const auto as_piece = [&](uint32_t character) {
    return character == ' ' && settings_.marks_spaces ? kSpaceMark : character;
  };
  // Characters without a piece, side by side, are one unknown token.
  if (!settings_.byte_fallback && !known_.contains(as_piece(left)) && !known_.contains(as_piece(right))) return false;
  if (settings_.normalises || settings_.joins_spaces) {
    const auto is_word = [](uint32_t character) { return character > ' ' && character < 0x7f; };
    return is_word(left) && right == ' ' && is_word(next) && !space_within_ && !settings_.space_ends_words;
  }
  return !side_by_side(as_piece(left), as_piece(right));
}

bool TextCutter::next(std::string& segment, bool at_end) {
  // Three characters are looked at together: none of them may be cut by the end of what is here.
  const auto take = [&](size_t bytes) {
    segment.assign(text_, begin_, bytes);
    begin_ += bytes;
    looked_ = 0;
    if (begin_ > text_.size() / 2) {
      text_.erase(0, begin_);
      begin_ = 0;
    }
    return true;
  };
  const std::string_view text = std::string_view(text_).substr(begin_);
  size_t at = std::max(kSegment, looked_);
  while (at < text.size() && is_continuation(text[at])) ++at;
  for (; at + 8 <= text.size() || (at_end && at < text.size()); at += length_of(text[at])) {
    if (at >= kLongest) return take(at);
    size_t before = at - 1, after = at;
    while (is_continuation(text[before])) --before;
    const uint32_t left = take_character(text, before), right = take_character(text, after);
    const uint32_t behind = after < text.size() ? take_character(text, after) : 0;
    if (places_.allow(left, right, behind)) return take(at);
  }
  looked_ = at;
  return at_end && !text.empty() && take(text.size());
}

}  // namespace gta
