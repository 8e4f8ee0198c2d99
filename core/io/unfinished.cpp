#include "core/io/unfinished.h"

#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>

namespace gta {
namespace {

std::mutex mutex;

// Never destroyed: a signal may come while the program ends.
std::multiset<std::string>& names() {
  static auto& all = *new std::multiset<std::string>;
  return all;
}

}  // namespace

// By its whole name: the program may go to another folder.
Unfinished::Unfinished(const std::string& path) {
  std::error_code error;
  path_ = std::filesystem::absolute(path, error).string();
  if (error) path_ = path;
  const std::lock_guard lock(mutex);
  names().insert(path_);
}

Unfinished::~Unfinished() {
  const std::lock_guard lock(mutex);
  names().erase(names().find(path_));
}

void remove_unfinished() noexcept {
  const std::lock_guard lock(mutex);
  for (const std::string& name : names()) {
    std::error_code error;
    // Once more where something was made in it meanwhile.
    for (int i = 0; i < 2; ++i) std::filesystem::remove_all(name, error);
  }
}

}  // namespace gta
