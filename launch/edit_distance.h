// For "did you mean".
#pragma once

#include <cstddef>
#include <string>

namespace gta {

// The least number of letters to insert, remove or replace.
size_t edit_distance(const std::string& a, const std::string& b);

}  // namespace gta
