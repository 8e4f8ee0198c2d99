// Where bytes stop being UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gta {

// What some editors begin a file with; it is no part of its text.
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Bytes of the character at the front of text: 0 when they are no UTF-8 (overlong forms, surrogates and values beyond
// U+10FFFF included), -1 when they are the beginning of a character that the text ends within. text is not empty.
int utf8_length(std::string_view text);

// The code point of a whole character in UTF-8.
char32_t utf8_code(std::string_view character);

// The offset of the first byte that is not UTF-8, or -1.
int64_t find_bad_utf8(std::string_view text);

}  // namespace gta
