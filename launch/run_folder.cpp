#include "launch/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {

namespace {

constexpr const char* kLock = "/run.lock";  // in the folder of every run

// Calls take(row, end) with each whole row of a metrics.jsonl and the byte behind it, the last row first, until it
// returns false. Rows come in the order of their steps, so what has to be looked at lies at the end. What is no row
// (torn by a kill) is left out.
void each_row_from_the_end(const std::string& path, const std::function<bool(const nlohmann::json&, int64_t)>& take) {
  constexpr int64_t kBlock = 1 << 16;
  if (!exists(path)) return;
  const File file(path, File::Mode::Read);
  int64_t begin = file.size();
  std::string text;  // what is not taken yet of the bytes from `begin` on
  while (true) {
    const size_t end = text.rfind('\n'),
                 before = end == std::string::npos || end == 0 ? std::string::npos : text.rfind('\n', end - 1);
    if (before == std::string::npos && begin > 0) {
      const int64_t bytes = std::min(kBlock, begin);
      std::string block(static_cast<size_t>(bytes), '\0');
      file.read_at(block.data(), bytes, begin - bytes);
      begin -= bytes;
      text.insert(0, block);
      continue;
    }
    if (end == std::string::npos) return;
    const size_t first = before == std::string::npos ? 0 : before + 1;
    const nlohmann::json row = nlohmann::json::parse(text.begin() + static_cast<int64_t>(first),
                                                     text.begin() + static_cast<int64_t>(end), nullptr, false);
    if (row.is_object() && row.contains("step") && row["step"].is_number_integer() &&
        !take(row, begin + static_cast<int64_t>(end) + 1))
      return;
    text.resize(first);
    if (first == 0 && begin == 0) return;
  }
}

int64_t step_of(const nlohmann::json& row) { return row["step"].get<int64_t>(); }

// Bytes of metrics.jsonl up to the last row of a step.
int64_t rows_up_to(const std::string& path, int64_t step) {
  int64_t bytes = 0;
  each_row_from_the_end(path, [&](const nlohmann::json& row, int64_t end) {
    if (step_of(row) > step) return true;
    bytes = end;
    return false;
  });
  return bytes;
}

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

}  // namespace

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {
  make_directories(path_);
  const std::string lock = path_ + kLock;
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) fail(lock, "cannot open: {}", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t got = ::pread(lock_, holder, sizeof holder - 1, 0);
    ::close(lock_);
    fail(path_, "is in use by process {}: wait for it, or give this run another --run-dir", got > 0 ? holder : "?");
  }
  // Between open and flock the folder may have been moved aside: then this is the lock of another one.
  struct stat held {
  }, named{};
  if (::fstat(lock_, &held) != 0 || ::stat(lock.c_str(), &named) != 0 || !same_file(held, named)) {
    ::close(lock_);
    fail(path_, "was moved away just now by another process: run the command again");
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

std::string RunFolder::sample_file(int64_t step) const { return fmt::format("{}/samples/step-{}.txt", path_, step); }

void RunFolder::begin(int64_t step) {
  make_directories(path_ + "/samples");
  make_directories(checkpoints());
  metrics_.emplace(metrics_file(), rows_up_to(metrics_file(), step));
  tensorboard_.emplace(path_ + "/tensorboard", step);
}

void RunFolder::add_metrics(const nlohmann::json& row) {
  metrics_->add(row.dump() + "\n");
  tensorboard_->add(row);
}

void RunFolder::flush_metrics() {
  tensorboard_->flush();
  metrics_->flush();
}

bool has_validation(const std::string& metrics_file, int64_t step) {
  bool found = false;
  each_row_from_the_end(metrics_file, [&](const nlohmann::json& row, int64_t) {
    found = found || (step_of(row) == step && row.contains("validation_loss"));
    return step_of(row) >= step && !found;
  });
  return found;
}

bool is_run_folder(const std::string& path) {
  return !is_directory(path) || exists(path + kLock) || list_directory(path).empty();
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
    bad_input(path,
              "is where this program runs, or around it, and cannot be moved aside: run it from elsewhere, or name "
              "another --run-dir");
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
