#include "launch/compare/page/parts.h"

#include <algorithm>

#include "launch/chart/style.h"

namespace gta::page {

Markup paragraph(std::initializer_list<Markup> contents) { return element("p", {}, contents); }
Markup note(std::initializer_list<Markup> contents) { return element("p", {{"class", "note"}}, contents); }

Markup details(const std::string& summary, const Markup& contents) {
  return element("details", {}, {element("summary", {}, {summary}), contents});
}

Markup section(const std::string& id, const std::string& title, const Markup& contents) {
  if (contents.empty()) return {};
  return element("section", {{"id", id}, {"aria-labelledby", id + "-title"}},
                 {element("h2", {{"id", id + "-title"}}, {title}), contents});
}

Table::Table(std::string caption, std::vector<std::string> columns)
    : caption_(std::move(caption)), columns_(std::move(columns)) {}

Table& Table::words() {
  words_ = true;
  return *this;
}

Table& Table::row(const Markup& head, const std::vector<Markup>& cells) {
  Markup all = element("th", {{"scope", "row"}}, {head});
  for (const Markup& cell : cells) all += element("td", {}, {cell});
  rows_ += element("tr", {}, {all});
  ++count_;
  return *this;
}

Markup Table::markup() const {
  // On paper a long one may go on on the next page, and a wide one is written smaller.
  constexpr size_t kLong = 12, kWide = 12;
  const std::string css = std::string(words_ ? "words" : "numbers") + (columns_.size() > kWide ? " wide" : "");
  Markup heads;
  for (const std::string& column : columns_) heads += element("th", {{"scope", "col"}}, {column});
  return element("div",
                 {{"class", count_ > kLong ? "scroll long" : "scroll"},
                  {"role", "region"},
                  {"aria-label", caption_},
                  {"tabindex", "0"}},
                 {element("table", {{"class", css}},
                          {element("caption", {}, {element("span", {}, {caption_})}),
                           element("thead", {}, {element("tr", {}, {heads})}), element("tbody", {}, {rows_})})});
}

Markup figure(const std::vector<Markup>& panels, std::initializer_list<Markup> caption) {
  Markup all;
  for (const Markup& panel : panels) all += element("div", {{"class", "panel"}}, {panel});
  return element("figure", {},
                 {element("div", {{"class", panels.size() == 1 ? "panels single" : "panels"}}, {all}),
                  element("figcaption", {}, caption)});
}

size_t style_of_variant(size_t index) { return style_of(index); }

size_t style_of_variant(const Comparison& comparison, const std::string& name) {
  const auto found = std::find_if(comparison.variants.begin(), comparison.variants.end(),
                                  [&](const Variant& variant) { return variant.name == name; });
  return style_of_variant(static_cast<size_t>(found - comparison.variants.begin()));
}

Markup legend(const Comparison& comparison) {
  Markup all;
  for (size_t i = 0; i < comparison.variants.size(); ++i)
    all += element("li", {}, {swatch_of(style_of_variant(i)), " " + comparison.variants[i].name});
  return element("ul", {{"class", "legend"}}, {all});
}

Markup name_with_mark(const Comparison& comparison, const std::string& name) {
  Markup all = swatch_of(style_of_variant(comparison, name));
  all += " " + name;
  return element("span", {{"class", "variant"}}, {all});
}

}  // namespace gta::page
