// HTML and SVG in which nothing that came from elsewhere is markup. A Markup is made of elements, whose names and
// attributes' names are literals of this program, and of text, which is escaped as it becomes one: there is no other
// way in.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace gta {

// A string that stands in the program's source.
class Literal {
 public:
  // NOLINTNEXTLINE: implicit
  consteval Literal(const char* text) : text_(text) {}
  const char* text() const { return text_; }

 private:
  const char* text_;
};

// For contents and for attributes in double quotes, of HTML and of XML. What is no UTF-8, control characters other than
// tab and newline, characters that change the direction of what stands around them, and what XML has no place for
// become U+FFFD.
std::string escaped(std::string_view text);

struct Attribute {
  Literal name;
  std::string value;
};

class Markup {
 public:
  Markup() = default;
  Markup(const char* text) : text_(escaped(text)) {}         // NOLINT: implicit, and escaped
  Markup(const std::string& text) : text_(escaped(text)) {}  // NOLINT
  static Markup literal(Literal markup);

  Markup& operator+=(const Markup& more);
  bool empty() const { return text_.empty(); }
  const std::string& text() const { return text_; }

 private:
  friend Markup element(Literal, std::initializer_list<Attribute>, std::initializer_list<Markup>);
  friend Markup empty_element(Literal, std::initializer_list<Attribute>);

  std::string text_;
};

// <name attributes>contents</name>
Markup element(Literal name, std::initializer_list<Attribute> attributes, std::initializer_list<Markup> contents);
// <name attributes/>, as SVG has it.
Markup empty_element(Literal name, std::initializer_list<Attribute> attributes);

}  // namespace gta
