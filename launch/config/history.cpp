#include "launch/config/history.h"

#include <fmt/format.h>

namespace gta {
namespace {

constexpr const char* kTitle = "# Changed while it trained:\n";

}  // namespace

std::string history_of(const std::string& yaml) {
  const size_t at = yaml.find(kTitle);
  return at == std::string::npos ? "" : yaml.substr(at);
}

std::string with_changes(const std::string& history, int64_t done, const std::vector<ConfigDifference>& changes) {
  std::string text = history;
  for (const ConfigDifference& change : changes)
    text += fmt::format("{}# from step {} on, {}: {} -> {}\n", text.empty() ? kTitle : "", done + 1, change.key,
                        change.before, change.after);
  return text;
}

}  // namespace gta
