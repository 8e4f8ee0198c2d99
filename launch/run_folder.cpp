#include "launch/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {
  make_directories(path_ + "/samples");
  make_directories(checkpoints());
  const std::string lock = path_ + "/run.lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) fail(lock, "cannot open: {}", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t got = ::pread(lock_, holder, sizeof holder - 1, 0);
    ::close(lock_);
    fail(path_, "is in use by process {}: wait for it, or give this run another --run-dir", got > 0 ? holder : "?");
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock_, 0) == 0) (void)!::pwrite(lock_, pid.data(), pid.size(), 0);
}

RunFolder::~RunFolder() {
  // The logs' last rows before the lock.
  tensorboard_.reset();
  metrics_.reset();
  ::close(lock_);
}

void RunFolder::open_metrics(int64_t bytes, int64_t step) {
  metrics_.emplace(path_ + "/metrics.jsonl", bytes);
  tensorboard_.emplace(path_ + "/tensorboard", step);
}

void RunFolder::add_metrics(const nlohmann::json& row) {
  metrics_->add(row.dump() + "\n");
  tensorboard_->add(row);
}

int64_t RunFolder::metrics_bytes() {
  tensorboard_->flush();
  return metrics_->flush();
}

std::string folder_name(std::string path) {
  while (path.size() > 1 && (path.ends_with("/") || path.ends_with("/."))) path.pop_back();
  return path;
}

std::string move_aside(const std::string& path) {
  if (!exists(path)) return "";
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path real = fs::canonical(path, error), here = fs::current_path(error);
  if (error) fail(path, "cannot find where it is: {}", error.message());
  if (std::mismatch(real.begin(), real.end(), here.begin(), here.end()).first == real.end())
    bad_input(path, "is where this program runs, or around it, and cannot be moved aside: run it from elsewhere, or name another --run-dir");
  const bool linked = fs::is_symlink(folder_name(path));
  const std::string folder = linked ? real.string() : folder_name(path);
  for (int i = 1;; ++i) {
    const std::string aside = folder + ".before-" + std::to_string(i);
    if (exists(aside)) continue;
    rename_path(folder, aside);
    if (linked) make_directories(folder);  // so that the link leads somewhere
    return aside;
  }
}

}  // namespace gta
