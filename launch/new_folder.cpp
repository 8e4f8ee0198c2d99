#include "launch/new_folder.h"

#include <exception>
#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"

namespace gta {

std::string new_folder(const std::string& path) {
  std::string name = std::filesystem::path(path).lexically_normal();
  if (name.size() > 1 && name.ends_with('/')) name.pop_back();
  require(!exists(name), "--out", "{} is there already: expected the name of a new folder", name);
  const std::string parent = parent_of(name);
  require(is_directory(parent), "--out", "{} does not exist", parent);
  try_to_write_in(parent);
  return name;
}

NewFolder::NewFolder(const std::string& path) : path_(path), temporary_(temporary_name(path)) {
  remove_tree(temporary_);
  make_directories(temporary_);
}

NewFolder::~NewFolder() {
  try {
    if (!published_) remove_tree(temporary_);
  } catch (const std::exception& error) {
    log::warning("{} stays: {}", temporary_, error.what());
  }
}

void NewFolder::publish() {
  sync_directory(temporary_);
  new_folder(path_);  // it may have come meanwhile
  rename_path(temporary_, path_);
  published_ = true;
  sync_directory(parent_of(path_));
}

}  // namespace gta
