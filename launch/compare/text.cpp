#include "launch/compare/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "data/utf8.h"

namespace gta {
namespace {

// Control characters, ends of lines, and what turns the direction of writing.
bool may_be_shown(char32_t code) {
  return code >= 0x20 && !(code >= 0x7F && code < 0xA0) && !(code >= 0x2028 && code <= 0x202E) &&
         !(code >= 0x2066 && code <= 0x2069);
}

// Bytes of the UTF-8 character that begins at `at`; 0 where none does, or one that nobody should be shown.
size_t character_at(std::string_view text, size_t at) {
  const int length = utf8_length(text.substr(at));
  if (length <= 0) return 0;
  return may_be_shown(utf8_code(text.substr(at, static_cast<size_t>(length)))) ? static_cast<size_t>(length) : 0;
}

bool begins_path(const std::string& text, size_t at) {
  return text[at] == '/' && (at == 0 || std::string(" \t\"'=[({,:;<>|").find(text[at - 1]) != std::string::npos);
}
bool ends_path(char c) { return std::string(" \t\"'],){}:;<>|").find(c) != std::string::npos; }

// Where the path that begins at `at` ends; one that stands in quotes or brackets, as in YAML and in errors, may hold
// spaces, and ends where they do.
size_t end_of_path(const std::string& text, size_t at) {
  const char before = at > 0 ? text[at - 1] : ' ';
  if (before == '"' || before == '\'' || before == '[')
    if (const size_t closing = text.find(before == '[' ? ']' : before, at); closing != std::string::npos)
      if (before != '[' || text.find_first_of(",\"'", at) > closing) return closing;
  size_t end = at;
  while (end < text.size() && !ends_path(text[end])) ++end;
  return end;
}

std::vector<std::string> names_of(const std::string& folder) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(folder, error);
  if (error) path = folder;
  std::vector<std::string> names;
  for (const std::filesystem::path& name : path.lexically_normal())
    if (!name.empty() && name != "/") names.push_back(name.string());
  return names;
}

}  // namespace

std::string printable(const std::string& text, size_t longest) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = character_at(text, at);
    if (out.size() + std::max<size_t>(length, 1) > longest) return out + "...";
    if (length == 0)
      out += '?';
    else
      out.append(text, at, length);
    at += std::max<size_t>(length, 1);
  }
  return out;
}

std::string one_line(std::string text) {
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.replace(at, 1, "; ");
  return text;
}

std::string without_directories(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (!begins_path(text, at)) {
      out += text[at++];
      continue;
    }
    const size_t end = end_of_path(text, at);
    size_t last = end;  // of the path without slashes at its end
    while (last > at + 1 && text[last - 1] == '/') --last;
    const size_t name = text.rfind('/', last - 1) + 1;
    out.append(text, name, last - name);
    at = end;
  }
  return out;
}

std::vector<std::string> told_apart(std::vector<std::string> names) {
  std::set<std::string> taken;
  for (std::string& name : names) {
    const std::string wanted = name;
    for (int number = 2; !taken.insert(name).second; ++number) name = fmt::format("{} ({})", wanted, number);
  }
  return names;
}

std::vector<std::string> short_names(const std::vector<std::string>& folders) {
  std::vector<std::vector<std::string>> names;
  size_t longest = 1;
  for (const std::string& folder : folders) longest = std::max(longest, names.emplace_back(names_of(folder)).size());
  const auto with_last = [&](size_t last) {
    std::vector<std::string> shown;
    for (const std::vector<std::string>& of_one : names) {
      std::string text;
      for (size_t k = of_one.size() - std::min(last, of_one.size()); k < of_one.size(); ++k)
        text += (text.empty() ? "" : "/") + of_one[k];
      shown.push_back(printable(text));
    }
    return shown;
  };
  const auto different = [](const std::vector<std::string>& shown) {
    return std::set<std::string>(shown.begin(), shown.end()).size();
  };
  const size_t most = different(with_last(longest));
  size_t last = 1;
  while (different(with_last(last)) < most) ++last;
  return told_apart(with_last(last));
}

}  // namespace gta
