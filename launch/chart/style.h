// How the lines of charts look: each a colour of its own, on light and on dark ground, and for those who confuse
// colours dashes and marks as well.
#pragma once

#include <string>

#include "launch/markup.h"

namespace gta {

// 0 is the text's colour: what the others are compared with. After the last the first but that come again.
inline constexpr size_t kStyles = 9;
size_t style_of(size_t index);

// The path of a mark whose middle is where the path begins: "m-3 -3h6v6h-6z".
const char* mark_of(size_t style);
// "s3": the class under which chart_css() has its colour and dashes.
std::string class_of(size_t style);

// For a <style> element, of a page or of a picture. Its elements' classes: chart (the picture), grid, rule, band, bar,
// line, mark, dot, zone, ground, title, unit, halo; of a style (class_of) above them.
Markup chart_css();
// A short piece of line with its mark, for legends.
Markup swatch_of(size_t style);

}  // namespace gta
