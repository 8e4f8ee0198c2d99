// Strings of UTF-8 as Python's str methods treat them: what lm-evaluation-harness builds its prompts with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gta::python {

int64_t length(std::string_view text);  // len(): code points
// Bytes of the white space that text ends with: what rstrip() would take.
size_t trailing_space(std::string_view text);
std::string strip(std::string_view text);
// The first letter large, all others small, whatever they were. Letters whose other case is several characters stay.
std::string capitalize(std::string_view text);
std::string replace(std::string_view text, std::string_view old, std::string_view by);
// re.sub(r"\[.*?\]", "", text): from each bracket to the next closing one of its line.
std::string without_brackets(std::string_view text);

}  // namespace gta::python
