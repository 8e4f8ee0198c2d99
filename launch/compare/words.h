// A comparison in words: which variant ended where, whether that shows a difference, and what would show one.
#pragma once

#include <string>

#include "launch/compare/comparison.h"

namespace gta {

// One paragraph of plain text, without ends of lines. Nothing in it is escaped.
std::string words_of(const Comparison& comparison);

}  // namespace gta
