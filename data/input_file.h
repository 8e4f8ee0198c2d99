// Files that a user named as input.
#pragma once

#include <string>

namespace gta {

// Error(BadInput) when there is no such file, or it is a folder.
void require_input_file(const std::string& path);

bool is_regular_file(const std::string& path);  // no pipe: it can be read twice

}  // namespace gta
