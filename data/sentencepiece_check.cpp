#include "data/sentencepiece_check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "core/io/varint.h"

namespace gta {
namespace {

// Fields of a protobuf message; a field of bytes, or of a number of fixed width, has its content.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  // False at the end, and where it is damaged.
  bool next() {
    content = {};
    if (rest_.empty()) return false;
    const std::optional<uint64_t> key = varint();
    if (!key) return false;
    number = *key >> 3;
    std::optional<uint64_t> bytes;
    switch (*key & 7) {
      case 0: {
        const std::optional<uint64_t> integer = varint();
        value = integer.value_or(0);
        return integer.has_value();
      }
      case 1:
        bytes = 8;
        break;
      case 2:
        bytes = varint();
        break;
      case 5:
        bytes = 4;
        break;
      default:  // groups, which no model has
        break;
    }
    if (!bytes || *bytes > rest_.size()) return damage();
    content = rest_.substr(0, *bytes);
    rest_.remove_prefix(*bytes);
    return true;
  }
  bool damaged() const { return damaged_; }

  uint64_t number = 0, value = 0;
  std::string_view content;

 private:
  bool damage() {
    damaged_ = true;
    return false;
  }
  std::optional<uint64_t> varint() {
    const std::optional<uint64_t> value = take_varint(rest_);
    damaged_ |= !value;
    return value;
  }

  std::string_view rest_;
  bool damaged_ = false;
};

// Exports cut a piece at each of its places, and look for both parts.
constexpr size_t kLongestPiece = 1024;

std::string check_piece(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return "a piece holds a zero byte";
  return text.size() > kLongestPiece ? "a piece has more than " + std::to_string(kLongestPiece) + " bytes" : "";
}

// Pieces are sorted by their scores. Of another width it is no score, and the library refuses it.
bool is_finite(std::string_view score) {
  float value = 0;
  if (score.size() == sizeof value) std::memcpy(&value, score.data(), sizeof value);
  return std::isfinite(value);
}

std::string check_charsmap(std::string_view map) {
  if (map.empty()) return "";
  uint32_t trie_bytes = 0;
  if (map.size() < sizeof trie_bytes) return "its normaliser is too short";
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  map.remove_prefix(sizeof trie_bytes);
  if (trie_bytes > map.size() || trie_bytes % 4 != 0) return "its normaliser's trie does not fit";
  const std::string_view trie = map.substr(0, trie_bytes), texts = map.substr(trie_bytes);
  if (texts.empty() || texts.back() != '\0') return "its normaliser's texts have no end";
  const uint32_t units = trie_bytes / 4;
  const auto unit = [&](uint32_t i) {
    uint32_t value = 0;
    std::memcpy(&value, trie.data() + 4 * static_cast<size_t>(i), sizeof value);
    return value;
  };
  if (units == 0) return "its normaliser's trie is empty";
  for (uint32_t i = 0; i < units; ++i) {
    const uint32_t node = unit(i);
    if (node >> 31 && i > 0) continue;  // a value: no label equals it, so nothing goes on from there
    // The children lie in one block of 256, the leaf at its base.
    const uint32_t base = i ^ (node >> 10) << ((node & 1u << 9) >> 6);
    if ((base | 0xff) >= units) return "its normaliser's trie leads out of itself";
    if (node & 1u << 8 && (unit(base) & 0x7fffffff) >= texts.size())
      return "its normaliser's trie leads out of its texts";
  }
  return "";
}

}  // namespace

std::string find_sentencepiece_problem(std::string_view model) {
  Message fields(model);
  while (fields.next()) {
    if (fields.number != 1 && fields.number != 3 && fields.number != 5) continue;
    Message part(fields.content);
    while (part.next()) {
      if (fields.number == 1 && part.number == 1)
        if (std::string problem = check_piece(part.content); !problem.empty()) return problem;
      if (fields.number == 1 && part.number == 2 && !is_finite(part.content)) return "a piece has a score that is none";
      if (fields.number != 1 && part.number == 2)
        if (std::string problem = check_charsmap(part.content); !problem.empty()) return problem;
    }
    if (part.damaged()) return "it is damaged";
  }
  return fields.damaged() ? "it is damaged" : "";
}

SentencepieceSettings read_sentencepiece_settings(std::string_view model) {
  SentencepieceSettings settings;
  Message fields(model);
  while (fields.next()) {
    Message part(fields.content);
    while ((fields.number == 2 || fields.number == 3) && part.next()) {
      if (fields.number == 2) {
        if (part.number == 3) settings.kind = static_cast<TokenizerKind>(part.value);
        if (part.number == 24) settings.space_ends_words = part.value != 0;
        if (part.number == 35) settings.byte_fallback = part.value != 0;
      } else {
        if (part.number == 2) settings.normalises = !part.content.empty();
        if (part.number == 3) settings.adds_space = part.value != 0;
        if (part.number == 4) settings.joins_spaces = part.value != 0;
        if (part.number == 5) settings.marks_spaces = part.value != 0;
      }
    }
  }
  return settings;
}

std::vector<TokenPiece> read_sentencepiece_pieces(std::string_view model) {
  std::vector<TokenPiece> pieces;
  Message fields(model);
  while (fields.next()) {
    if (fields.number != 1) continue;
    TokenPiece piece;
    Message part(fields.content);
    while (part.next()) {
      if (part.number == 1) piece.text = part.content;
      if (part.number == 2 && part.content.size() == sizeof piece.score)
        std::memcpy(&piece.score, part.content.data(), sizeof piece.score);
      if (part.number == 3) piece.type = static_cast<PieceType>(part.value);
    }
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

void replace_in_pieces(std::string& model, char from, char to) {
  Message fields(model);
  while (fields.next()) {
    Message part(fields.content);
    while (fields.number == 1 && part.next())
      if (part.number == 1) {
        const auto begin = model.begin() + (part.content.data() - model.data());
        std::replace(begin, begin + static_cast<std::ptrdiff_t>(part.content.size()), from, to);
      }
  }
}

std::string with_added_space(std::string_view model, bool adds_space) {
  // Of a message that comes twice, the second one's fields hold: normalizer_spec {add_dummy_prefix}.
  return std::string(model) + std::string("\x1a\x02\x18", 3) + static_cast<char>(adds_space);
}

}  // namespace gta
