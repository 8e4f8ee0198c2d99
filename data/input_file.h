// Files that a user named as input.
#pragma once

#include <string>

namespace gta {

// Error(BadInput) when there is no such file, or it is a folder.
void require_input_file(const std::string& path);

}  // namespace gta
