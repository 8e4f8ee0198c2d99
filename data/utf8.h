// UTF-8, strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF.
#pragma once

#include <cstdint>
#include <string_view>

namespace gta {

size_t utf8_length(std::string_view text);         // of the character that text begins with; 0 when it is none
bool utf8_may_continue(std::string_view text);     // text is the beginning of a character that is not complete
int64_t find_bad_utf8(std::string_view text);      // offset of the first byte that belongs to no character, or -1

}  // namespace gta
