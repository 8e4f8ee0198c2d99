#include "launch/new_output.h"

#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"

namespace gta {
namespace {

std::string without_last_slash(const std::string& path) {
  const std::string normal = std::filesystem::path(path).lexically_normal();
  return normal.ends_with('/') && normal.size() > 1 ? normal.substr(0, normal.size() - 1) : normal;
}

}  // namespace

NewOutput::NewOutput(const std::string& option, const std::string& path, Kind kind)
    : option_(option), path_(without_last_slash(path)), temporary_(temporary_name(path_)), kind_(kind) {
  check();
}

const std::string& NewOutput::begin() {
  remove_tree(temporary_);
  if (kind_ == Kind::Folder) make_directories(temporary_);
  return temporary_;
}

NewOutput::~NewOutput() {
  try {
    if (!published_) remove_tree(temporary_);
  } catch (const std::exception& error) {
    log::warning("{} stays: {}", temporary_, error.what());
  }
}

void NewOutput::check() const {
  require(!exists(path_), option_.c_str(), "{} is there already: expected the name of a new {}", path_,
          kind_ == Kind::Folder ? "folder" : "file");
  const std::string parent = parent_of(path_);
  require(is_directory(parent), option_.c_str(), "{} does not exist", parent);
  try_to_write_in(parent);
}

void NewOutput::publish() {
  if (kind_ == Kind::Folder) sync_directory(temporary_);
  check();  // it may have come meanwhile
  rename_path(temporary_, path_);
  published_ = true;
  sync_directory(parent_of(path_));
}

}  // namespace gta
