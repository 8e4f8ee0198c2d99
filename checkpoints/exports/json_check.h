// What a parser of JSON would take without a word, or at any cost, in a text from outside. It looks at each token once:
// the parser's own callbacks look at all members of an object again for each that is an object, minutes for the header
// of a file of a million tensors.
#pragma once

#include <cstdint>
#include <string>

namespace gta {

enum class JsonProblem : uint8_t { None, NoJson, TooDeep, NameTwice };

struct JsonCheck {
  JsonProblem problem = JsonProblem::None;
  std::string name;  // that comes twice in one object
};
// deepest: objects and lists within each other, the outermost counted.
JsonCheck check_json(const std::string& text, int deepest);

}  // namespace gta
