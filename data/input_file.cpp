#include "data/input_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {

void require_input_file(const std::string& path) {
  if (is_directory(path)) bad_input(path, "is a folder: name the files in it");
  if (!exists(path)) bad_input(path, "there is no such file");
}

bool is_regular_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

void require_output_file(const std::string& path) {
  if (is_directory(path)) bad_input(path, "is a folder: name the file to write in it");
  const std::string folder = parent_of(path);
  if (!is_directory(folder)) bad_input(path, "its folder {} does not exist: make it first", folder);
  if (::access(folder.c_str(), W_OK) != 0) bad_input(path, "its folder {} cannot be written to: {}", folder, std::strerror(errno));
}

}  // namespace gta
