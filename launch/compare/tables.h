// The variants of a comparison as a table: one row each, with what they cost, what they reached, and how far they are
// from the baseline.
#pragma once

#include <string>

#include "launch/compare/comparison.h"

namespace gta {

// RFC 4180, every digit; a number that is none is an empty field. A text that could be a spreadsheet's formula has
// a ' before it.
std::string table_csv(const Comparison& comparison);
// A tabular of booktabs, everything escaped.
std::string table_tex(const Comparison& comparison);
// For a terminal.
std::string table_text(const Comparison& comparison);

}  // namespace gta
