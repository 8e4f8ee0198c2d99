#include "launch/new_output.h"

#include <fcntl.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"

namespace gta {
namespace {

std::string without_last_slash(const std::string& path) {
  const std::string normal = std::filesystem::path(path).lexically_normal();
  return normal.ends_with('/') && normal.size() > 1 ? normal.substr(0, normal.size() - 1) : normal;
}

// In one call, so that both names are there at any moment; in two where a file system cannot (NFS), the old one being
// beside its name for a moment.
void put_in_place(const std::string& fresh, const std::string& old) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, old.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) fail(old, "cannot be replaced: {}", std::strerror(errno));
  const std::string aside = old + ".replaced";
  rename_path(old, aside);
  rename_path(fresh, old);
  rename_path(aside, fresh);
}

}  // namespace

NewOutput::NewOutput(const std::string& option, const std::string& path, Kind kind,
                     std::function<void(const std::string&)> may_replace)
    : option_(option),
      path_(without_last_slash(path)),
      temporary_(temporary_name(path_)),
      unfinished_(temporary_),
      kind_(kind),
      may_replace_(std::move(may_replace)) {
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
  if (may_replace_ && exists(path_))
    may_replace_(path_);
  else
    require(!exists(path_), option_.c_str(), "{} is there already: expected the name of a new {}", path_,
            kind_ == Kind::Folder ? "folder" : "file");
  const std::string parent = parent_of(path_);
  require(is_directory(parent), option_.c_str(), "{} does not exist", parent);
  try_to_write_in(parent);
}

void NewOutput::publish() {
  if (kind_ == Kind::Folder) sync_directory(temporary_);
  check();  // it may have come meanwhile
  if (exists(path_)) {
    put_in_place(temporary_, path_);
    remove_tree(temporary_);
  } else {
    rename_path(temporary_, path_);
  }
  published_ = true;
  sync_directory(parent_of(path_));
}

}  // namespace gta
