// Files that a user named as input, or as output.
#pragma once

#include <string>

namespace gta {

// Error(BadInput) when there is no such file, or it is a folder.
void require_input_file(const std::string& path);

bool is_regular_file(const std::string& path);  // no pipe: it can be read twice

// Before the work whose result goes there: Error(BadInput) when it is a folder, or its folder is missing or cannot be written to.
void require_output_file(const std::string& path);

}  // namespace gta
