// Files and folders that are being made under temporary names: a signal that ends the program leaves none of them.
#pragma once

#include <string>

namespace gta {

// Remembers a name while the object lives. Whoever makes what has that name removes it, or gives it another, itself;
// this is for the end that comes from outside.
class Unfinished {
 public:
  explicit Unfinished(const std::string& path);
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

 private:
  std::string path_;
};

// What has a remembered name now, folders with all that is in them. Before the program ends: who makes one of them and
// goes on meets errors.
void remove_unfinished() noexcept;

}  // namespace gta
