#include "launch/generation/stop_strings.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace gta {

std::string StopStrings::push(const std::string& piece) {
  if (found_) return "";
  held_ += piece;
  size_t begin = std::string::npos, end = std::string::npos;
  for (const std::string& stop : strings_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
      begin = at;
      end = at + stop.size();
    }
  }
  found_ = begin != std::string::npos;
  size_t shown = found_ ? begin : held_.size();
  if (!found_)
    for (const std::string& stop : strings_)
      for (size_t length = std::min(stop.size() - 1, held_.size()); length > held_.size() - shown; --length)
        if (held_.ends_with(std::string_view(stop).substr(0, length))) {
          shown = held_.size() - length;
          break;
        }
  std::string text = held_.substr(0, shown);
  held_.erase(0, shown);
  return text;
}

std::string StopStrings::finish() { return found_ ? "" : std::exchange(held_, ""); }

}  // namespace gta
