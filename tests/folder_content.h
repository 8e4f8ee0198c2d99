// What lies in a folder, to be compared with what lies there later.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/io/file.h"

namespace gta::test {

// Every file below it and its bytes, every link and where it leads, by path.
inline std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (entry.is_symlink())
      found[path] = std::filesystem::read_symlink(path).string();
    else
      found[path] = entry.is_directory() ? "a folder" : read_file(path);
  }
  return found;
}

}  // namespace gta::test
