// What the page's sections are made of: tables that scroll within themselves, figures, legends.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "launch/compare/comparison.h"
#include "launch/markup.h"

namespace gta::page {

Markup paragraph(std::initializer_list<Markup> contents);
Markup note(std::initializer_list<Markup> contents);  // small
Markup details(const std::string& summary, const Markup& contents);
// Nothing where there are no contents.
Markup section(const std::string& id, const std::string& title, const Markup& contents);

class Table {
 public:
  // caption: what it shows, in a few words. columns: the first is of the rows' heads.
  Table(std::string caption, std::vector<std::string> columns);
  // Columns of text, which is not aligned to the right: all.
  Table& words();
  Table& row(const Markup& head, const std::vector<Markup>& cells);
  bool empty() const { return rows_.empty(); }
  Markup markup() const;

 private:
  std::string caption_;
  std::vector<std::string> columns_;
  Markup rows_;
  size_t count_ = 0;  // of rows
  bool words_ = false;
};

// panels: <svg>s. caption: what they have in common, and where their numbers are.
Markup figure(const std::vector<Markup>& panels, std::initializer_list<Markup> caption);

// The style of the line of comparison.variants[index], or of the variant of that name.
size_t style_of_variant(size_t index);
size_t style_of_variant(const Comparison& comparison, const std::string& name);
// Which line is whose.
Markup legend(const Comparison& comparison);
// A variant's name with its mark before it.
Markup name_with_mark(const Comparison& comparison, const std::string& name);

}  // namespace gta::page
