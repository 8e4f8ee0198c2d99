#include "launch/tasks/python_text.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "data/utf8.h"

namespace gta::python {
namespace {

// str.isspace(), all of it.
bool is_space(char32_t c) {
  constexpr char32_t kOthers[] = {0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || (c >= 0x2000 && c <= 0x200a) ||
         std::find(std::begin(kOthers), std::end(kOthers), c) != std::end(kOthers);
}

// The character at the front of text, which is UTF-8 and not empty, and its bytes.
struct Character {
  char32_t code;
  size_t bytes;
};
Character first_of(std::string_view text) {
  const int bytes = utf8_length(text);
  ensure(bytes > 0, "text", "is no UTF-8");
  const auto lead = static_cast<unsigned char>(text[0]);
  char32_t code = bytes == 1 ? lead : lead & (0x7fu >> bytes);
  for (int i = 1; i < bytes; ++i) code = code << 6 | (static_cast<unsigned char>(text[static_cast<size_t>(i)]) & 0x3fu);
  return {code, static_cast<size_t>(bytes)};
}

void append(std::string& text, char32_t code) {
  const auto part = [&](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80)
    text += static_cast<char>(code);
  else if (code < 0x800)
    text += {static_cast<char>(0xc0 | code >> 6), part(0)};
  else if (code < 0x10000)
    text += {static_cast<char>(0xe0 | code >> 12), part(6), part(0)};
  else
    text += {static_cast<char>(0xf0 | code >> 18), part(12), part(6), part(0)};
}

// Of all letters, whatever the language of the caller is.
locale_t letters() {
  static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return locale;
}

char32_t with_case(char32_t code, wint_t (*of)(wint_t, locale_t), char32_t first, char32_t last, int step) {
  if (code < 0x80) return code >= first && code <= last ? static_cast<char32_t>(static_cast<int>(code) + step) : code;
  require(letters() != nullptr, "task",
          "letters beyond ASCII need the locale C.UTF-8, which this system does not have");
  return static_cast<char32_t>(of(static_cast<wint_t>(code), letters()));
}

}  // namespace

int64_t length(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

size_t trailing_space(std::string_view text) {
  size_t space = 0;
  for (size_t at = 0; at < text.size();) {
    const Character c = first_of(text.substr(at));
    at += c.bytes;
    space = is_space(c.code) ? space + c.bytes : 0;
  }
  return space;
}

std::string strip(std::string_view text) {
  text.remove_suffix(trailing_space(text));
  while (!text.empty()) {
    const Character c = first_of(text);
    if (!is_space(c.code)) break;
    text.remove_prefix(c.bytes);
  }
  return std::string(text);
}

std::string capitalize(std::string_view text) {
  std::string made;
  for (size_t at = 0; at < text.size();) {
    const Character c = first_of(text.substr(at));
    append(made, at == 0 ? with_case(c.code, ::towupper_l, 'a', 'z', 'A' - 'a')
                         : with_case(c.code, ::towlower_l, 'A', 'Z', 'a' - 'A'));
    at += c.bytes;
  }
  return made;
}

std::string replace(std::string_view text, std::string_view old, std::string_view by) {
  std::string made;
  for (size_t at; (at = text.find(old)) != std::string_view::npos; text.remove_prefix(at + old.size()))
    made.append(text.substr(0, at)).append(by);
  return made.append(text);
}

std::string without_brackets(std::string_view text) {
  std::string made;
  for (size_t at = 0; at < text.size();) {
    const size_t open = std::min(text.find('[', at), text.size());
    made.append(text.substr(at, open - at));
    // "." is no line end: before one without a closing bracket all that are open stay, and are looked at once.
    at = std::min(text.find_first_of("]\n", open), text.size());
    if (at < text.size() && text[at] == ']')
      ++at;
    else
      made.append(text.substr(open, at - open));
  }
  return made;
}

}  // namespace gta::python
