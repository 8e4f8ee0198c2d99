// The text of a JSON line.
#pragma once

#include <string>
#include <string_view>

namespace gta {

// The string that the object in `line` has under `field`. Returns "", or why there is none; text is then left as it
// was.
std::string read_json_field(std::string_view line, const std::string& field, std::string& text);

}  // namespace gta
