#include "launch/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

constexpr size_t kMetricsBuffer = 1 << 14;

void write_all(int descriptor, const std::string& text, const std::string& path) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t put = ::write(descriptor, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail(path, "cannot write: {}", std::strerror(errno));
    done += static_cast<size_t>(put);
  }
}

}  // namespace

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
  try {
    if (metrics_ >= 0) metrics_bytes();
  } catch (const Error&) {
    // The disk is full: the run has said so where it mattered.
  }
  if (metrics_ >= 0) ::close(metrics_);
  ::close(lock_);
}

void RunFolder::open_metrics(int64_t bytes) {
  const std::string path = path_ + "/metrics.jsonl";
  metrics_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (metrics_ < 0) fail(path, "cannot open: {}", std::strerror(errno));
  const int64_t size = ::lseek(metrics_, 0, SEEK_END);
  if (size > bytes && ::ftruncate(metrics_, bytes) != 0) fail(path, "cannot cut back: {}", std::strerror(errno));
  metrics_bytes_ = std::min(size, bytes);
}

void RunFolder::add_metrics(const std::string& json_line) {
  buffered_ += json_line + "\n";
  if (buffered_.size() > kMetricsBuffer) metrics_bytes();
}

int64_t RunFolder::metrics_bytes() {
  if (metrics_ < 0) return 0;
  write_all(metrics_, buffered_, path_ + "/metrics.jsonl");
  metrics_bytes_ += static_cast<int64_t>(buffered_.size());
  buffered_.clear();
  return metrics_bytes_;
}

std::string move_aside(const std::string& path) {
  if (!exists(path)) return "";
  for (int i = 1;; ++i) {
    const std::string aside = path + ".before-" + std::to_string(i);
    if (exists(aside)) continue;
    rename_path(path, aside);
    return aside;
  }
}

}  // namespace gta
