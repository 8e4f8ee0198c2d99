// Globs as the configuration writes them: `*`, `?` and `[...]` within one name; a character after a backslash is
// itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace gta {

// The pattern that matches this path and no other.
std::string pattern_of(const std::string& path);
// The one path that a pattern without wildcards can match.
std::optional<std::string> literal_path(const std::string& pattern);
// Those that exist, sorted.
std::vector<std::string> matching_files(const std::string& pattern);

}  // namespace gta
