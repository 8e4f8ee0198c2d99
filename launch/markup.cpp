#include "launch/markup.h"

#include "data/utf8.h"

namespace gta {
namespace {

constexpr const char* kReplacement = "\xef\xbf\xbd";  // U+FFFD

bool may_stand_in_text(char32_t code) {
  if (code == '\t' || code == '\n') return true;
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return false;
  if (code == 0x200E || code == 0x200F || code == 0x061C) return false;                        // marks,
  if ((code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069)) return false;  // of direction
  return (code & 0xFFFE) != 0xFFFE && !(code >= 0xFDD0 && code <= 0xFDEF);                     // no characters
}

std::string attributes_text(std::initializer_list<Attribute> attributes) {
  std::string text;
  for (const Attribute& attribute : attributes)
    text += std::string(" ") + attribute.name.text() + "=\"" + escaped(attribute.value) + "\"";
  return text;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const int length = utf8_length(text);
    const std::string_view character = text.substr(0, length > 0 ? static_cast<size_t>(length) : 1);
    text.remove_prefix(character.size());
    if (length <= 0 || !may_stand_in_text(utf8_code(character)))
      out += kReplacement;
    else if (character == "&")
      out += "&amp;";
    else if (character == "<")
      out += "&lt;";
    else if (character == ">")
      out += "&gt;";
    else if (character == "\"")
      out += "&quot;";
    else if (character == "'")
      out += "&#39;";
    else
      out += character;
  }
  return out;
}

Markup Markup::literal(Literal markup) {
  Markup result;
  result.text_ = markup.text();
  return result;
}

Markup& Markup::operator+=(const Markup& more) {
  text_ += more.text_;
  return *this;
}

Markup element(Literal name, std::initializer_list<Attribute> attributes, std::initializer_list<Markup> contents) {
  Markup result;
  result.text_ = std::string("<") + name.text() + attributes_text(attributes) + ">";
  for (const Markup& content : contents) result += content;
  result.text_ += std::string("</") + name.text() + ">";
  return result;
}

Markup empty_element(Literal name, std::initializer_list<Attribute> attributes) {
  Markup result;
  result.text_ = std::string("<") + name.text() + attributes_text(attributes) + "/>";
  return result;
}

}  // namespace gta
