#include "data/input_file.h"

#include <sys/stat.h>

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

}  // namespace gta
