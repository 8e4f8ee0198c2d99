#include "data/input_file.h"

#include <sys/stat.h>

#include <string_view>

#include "core/error.h"
#include "core/io/file.h"
#include "data/text_stream.h"
#include "data/utf8.h"

namespace gta {

void require_input_file(const std::string& path) {
  if (is_directory(path))
    bad_input(path, "is a folder: name the files in it, or let find write a list of them for --files-from");
  if (!exists(path)) bad_input(path, "there is no such file");
}

bool is_regular_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

std::vector<std::string> read_file_list(const std::string& list) {
  std::vector<std::string> files;
  const std::string name = list == "-" ? "standard input" : list;
  TextStream stream(list == "-" ? "/dev/stdin" : list);
  int64_t number = 0;
  for (LinePart line; stream.read(line);) {
    number += line.begins;
    std::string_view file = line.text;
    if (number == 1 && line.begins && file.starts_with(kByteOrderMark)) file.remove_prefix(kByteOrderMark.size());
    if (file.ends_with('\n')) file.remove_suffix(1);
    if (file.ends_with('\r')) file.remove_suffix(1);
    if (file.empty()) continue;
    const std::string path(file), place = name + ":" + std::to_string(number);
    if (file.find('\0') != std::string_view::npos)
      bad_input(place, "has a NUL: expected one path a line (find without -print0)");
    if (is_directory(path)) bad_input(place, "'{}' is a folder: name the files in it (find FOLDER -type f does)", path);
    if (!exists(path)) bad_input(place, "there is no file '{}': expected one path a line", path);
    files.push_back(path);
  }
  if (files.empty()) bad_input(name, "names no files: expected one path a line");
  return files;
}

}  // namespace gta
