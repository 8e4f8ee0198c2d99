#include "data/utf8.h"

#include <cstring>

namespace gta {

int utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0) return 0;
  // What the second byte may be depends on the first; the others are any continuation.
  const unsigned char least = lead == 0xe0   ? 0xa0
                              : lead == 0xf0 ? 0x90
                                             : 0x80,
                      most = lead == 0xed   ? 0x9f
                             : lead == 0xf4 ? 0x8f
                                            : 0xbf;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return -1;
    if (byte(i) < (i == 1 ? least : 0x80) || byte(i) > (i == 1 ? most : 0xbf)) return 0;
  }
  return static_cast<int>(length);
}

char32_t utf8_code(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0);
  char32_t code = byte(0) & (0x7Fu >> character.size());
  for (size_t i = 1; i < character.size(); ++i) code = code << 6 | (byte(i) & 0x3Fu);
  return code;
}

int64_t find_bad_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    // Most text is ASCII: eight bytes at once.
    uint64_t bytes = 0;
    if (i + sizeof bytes <= text.size()) {
      std::memcpy(&bytes, text.data() + i, sizeof bytes);
      if ((bytes & 0x8080808080808080u) == 0) {
        i += sizeof bytes;
        continue;
      }
    }
    const int length = utf8_length(text.substr(i));
    if (length <= 0) return static_cast<int64_t>(i);
    i += static_cast<size_t>(length);
  }
  return -1;
}

}  // namespace gta
