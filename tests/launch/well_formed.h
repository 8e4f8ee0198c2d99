// Whether elements close in the order in which they were opened, attributes are quoted, and ids are one element's each.
#pragma once

#include <regex>
#include <set>
#include <string>
#include <vector>

namespace gta {

// "" or the first complaint. Of HTML the elements that are never closed are known; a <style>'s content is left alone.
inline std::string what_is_malformed(const std::string& text) {
  static const std::set<std::string> kNeverClosed = {"meta", "br", "hr"};
  const std::regex attributes("( [a-zA-Z:-]+(=\"[^\"<>]*\")?)*/?");
  const std::regex id(" id=\"([^\"]*)\"");
  std::vector<std::string> open;
  std::set<std::string> ids;
  for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    const size_t end = text.find('>', at);
    if (end == std::string::npos) return "a tag that does not end: " + text.substr(at, 40);
    const std::string tag = text.substr(at + 1, end - at - 1);
    if (tag == "!DOCTYPE html") continue;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "closed, and not open: " + tag;
      open.pop_back();
      continue;
    }
    const size_t name_end = tag.find_first_of(" /");
    const std::string name = tag.substr(0, name_end);
    if (name.empty() ||
        name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ123456") != std::string::npos)
      return "no element's name: " + tag;
    if (name_end != std::string::npos && !std::regex_match(tag.substr(name_end), attributes))
      return "attributes: " + tag.substr(0, 200);
    std::smatch found;
    if (std::regex_search(tag, found, id) && !ids.insert(found[1]).second) return "twice: id " + found[1].str();
    if (!tag.ends_with('/') && !kNeverClosed.count(name)) open.push_back(name);
    if (name == "style") at = text.find("</style>", at) - 1;
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

}  // namespace gta
