// A folder that a command writes: it appears whole or not at all, and never over something else.
#pragma once

#include <string>

namespace gta {

// Where a folder that was named so is written, without slashes at its end. Error(BadInput) where it is there already,
// or cannot be made. Commands ask before they begin to work.
std::string new_folder(const std::string& path);

// The folder under its temporary name, which goes with this object unless it has been published.
class NewFolder {
 public:
  explicit NewFolder(const std::string& path);  // that new_folder() gave
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::string& path() const { return temporary_; }
  // Gives it its name, on disk. Its files have been synced.
  void publish();

 private:
  std::string path_, temporary_;
  bool published_ = false;
};

}  // namespace gta
