#include "data/utf8.h"

namespace gta {
namespace {

size_t promised_length(unsigned char c) { return c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0; }

// The bytes after the first that are there are those of a character that begins with it.
bool continues(std::string_view text, size_t length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t i = 1; i < length && i < text.size(); ++i)
    if ((byte(i) & 0xc0) != 0x80) return false;
  if (text.size() < 2 || length < 2) return true;
  const unsigned char first = byte(0), second = byte(1);
  return !((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f));
}

}  // namespace

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const size_t length = promised_length(static_cast<unsigned char>(text[0]));
  return length > 0 && length <= text.size() && continues(text, length) ? length : 0;
}

bool utf8_may_continue(std::string_view text) {
  if (text.empty()) return true;
  const size_t length = promised_length(static_cast<unsigned char>(text[0]));
  return length > text.size() && continues(text, length);
}

int64_t find_bad_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) return static_cast<int64_t>(at);
    at += length;
  }
  return -1;
}

}  // namespace gta
