#include "launch/config/file_pattern.h"

#include <fmt/format.h>
#include <glob.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {

std::string pattern_of(const std::string& path) {
  std::string pattern;
  for (const char c : path) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::optional<std::string> literal_path(const std::string& pattern) {
  std::string path;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '*' || pattern[i] == '?' || pattern[i] == '[') return std::nullopt;
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    path += pattern[i];
  }
  return path;
}

namespace {

thread_local std::string unreadable;

// What is not there, or is no folder, has no files that match; what cannot be read might have.
int note_unreadable(const char* path, int error) {
  if (error == ENOENT || error == ENOTDIR || error == ELOOP) return 0;
  unreadable = fmt::format("the folder {} cannot be read: {}", path, std::strerror(error));
  return 1;
}

}  // namespace

std::vector<std::string> matching_files(const std::string& pattern) {
  if (const std::optional<std::string> path = literal_path(pattern))
    return exists(*path) ? std::vector{*path} : std::vector<std::string>{};
  std::vector<std::string> found;
  glob_t matches{};
  unreadable.clear();
  const int result = ::glob(pattern.c_str(), 0, note_unreadable, &matches);
  if (result == 0) found.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
  ::globfree(&matches);
  if (!unreadable.empty())
    bad_input(pattern, "{}, and may hold files that match: let it be read, or name the others alone", unreadable);
  if (result != 0 && result != GLOB_NOMATCH) fail(pattern, "cannot be looked up: glob() returned {}", result);
  return found;
}

}  // namespace gta
