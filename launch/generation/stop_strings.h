// Text that comes in pieces, up to the first of some strings in it: that, and what follows, is not shown.
#pragma once

#include <string>
#include <vector>

namespace gta {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {}  // none of them empty
  // What of the text so far may be shown now: not what may be the beginning of such a string. The string that ends
  // first is the one that counts, however the text was cut into pieces; of several that end there, the longest.
  std::string push(const std::string& piece);
  std::string finish();  // what was held back, where nothing follows
  bool found() const { return found_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;  // what may begin one of them
  bool found_ = false;
};

}  // namespace gta
