// Files that a user named as input.
#pragma once

#include <string>
#include <vector>

namespace gta {

// Error(BadInput) when there is no such file, or it is a folder.
void require_input_file(const std::string& path);

bool is_regular_file(const std::string& path);  // no pipe: it can be read twice

// The files that a list names, one a line; '-' is a list on standard input. Error(BadInput) with the line of a name
// that is no file's.
std::vector<std::string> read_file_list(const std::string& list);

}  // namespace gta
