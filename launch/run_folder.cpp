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
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"

namespace gta {

namespace {

constexpr const char* kLock = "/run.lock";  // in the folder of every run
constexpr const char* kNote = "/last_checkpoint.json";
constexpr const char* kFiles[] = {kLock,           kNote,      "/config.yaml",  "/environment.json",
                                  "/initial.json", "/log.txt", "/metrics.jsonl"};

// Bytes of metrics.jsonl up to the last row of a step.
int64_t rows_up_to(const std::string& path, int64_t step) {
  int64_t bytes = 0;
  each_row_from_the_end(path, [&](const MetricsRow& row, int64_t end) {
    if (step_of(row) > step) return true;
    bytes = end;
    return false;
  });
  return bytes;
}

// Who has a lock, by what it wrote into it; "?" where that is no process.
std::string process_in(int lock) {
  char text[32] = {};
  const ssize_t got = ::pread(lock, text, sizeof text - 1, 0);
  const std::string process(text, got > 0 ? static_cast<size_t>(got) : 0);
  return process.empty() || process.find_first_not_of("0123456789") != std::string::npos ? "?" : process;
}

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

}  // namespace

RunFolder::RunFolder(std::string path, FolderLock lock) : path_(std::move(path)), use_lock_(lock) {
  make_directories(path_);
  for (const char* file : kFiles) require_file(path_ + file);
  take_lock();
  try {
    fence_ = std::make_shared<Fence>(path_);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

void RunFolder::take_lock() {
  const std::string lock = path_ + kLock;
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const int code = errno;
  if (lock_ < 0 && refuses_the_name(code))
    bad_input(lock, "cannot be written: {}: give this run another --run-dir", std::strerror(code));
  if (lock_ < 0) fail(lock, "cannot open: {}", std::strerror(code));
  // Some file systems of clusters have no locks: there the fence is alone.
  const auto locks = [&] {
    if (use_lock_ == FolderLock::Leave || ::flock(lock_, LOCK_EX | LOCK_NB) == 0) return true;
    return errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP;
  };
  if (!locks()) {
    const std::string holder = process_in(lock_);
    ::close(std::exchange(lock_, -1));
    fail(path_, "is in use by process {}: wait for it, or give this run another --run-dir", holder);
  }
  // Between open and flock the folder may have been moved aside: then this is the lock of another one.
  if (!holds(lock)) {
    ::close(std::exchange(lock_, -1));
    fail(path_, "was moved away just now by another process: run the command again");
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock_, 0) == 0) (void)!::pwrite(lock_, pid.data(), pid.size(), 0);
}

bool RunFolder::holds(const std::string& lock) const {
  struct stat held {
  }, named{};
  return ::fstat(lock_, &held) == 0 && ::stat(lock.c_str(), &named) == 0 && same_file(held, named);
}

bool RunFolder::follow() {
  if (holds(path_ + kLock)) return false;
  std::error_code error;
  const std::string lock = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", lock_), error).string();
  if (!error && lock.ends_with(kLock) && holds(lock)) {
    path_ = parent_of(lock);
    fence_->moved_to(path_);
    return true;
  }
  if (!is_directory(path_)) fail(path_, "is gone: the run's folder was removed while it trained");
  const int before = lock_;
  take_lock();
  ::close(before);
  return false;
}

RunFolder::~RunFolder() {
  // The logs' last rows before the lock.
  tensorboard_.reset();
  metrics_.reset();
  if (lock_ >= 0) ::close(lock_);
}

std::string RunFolder::sample_file(int64_t step) const { return fmt::format("{}/samples/step-{}.txt", path_, step); }

void RunFolder::make_folders() {
  for (const std::string& folder : {path_ + "/samples", checkpoints()}) {
    make_directories(folder);
    try_to_write_in(folder);
  }
}

void RunFolder::begin(int64_t step) {
  const MayWrite may_write = [fence = fence_] { return fence->may_write(); };
  fence_->check();
  metrics_.emplace(metrics_file(), rows_up_to(metrics_file(), step), may_write);
  fence_->check();
  tensorboard_.emplace(path_ + "/tensorboard", step, may_write);
}

void RunFolder::add_metrics(MetricsRow row) {
  set_time(row);
  metrics_->add(to_line(row));
  tensorboard_->add(row);
}

bool RunFolder::flush_metrics() {
  tensorboard_->flush();
  metrics_->flush();
  return tensorboard_->complete() && metrics_->complete();
}

void RunFolder::note_checkpoint(int64_t step) try {
  std::error_code error;
  const std::string directory = std::filesystem::canonical(checkpoints(), error).string(),
                    text = nlohmann::json{{"step", step}, {"directory", directory}}.dump() + "\n";
  if (!fence_->may_write()) return;
  // Not synced: training waits for no disk, and a note that is lost or torn is no note. One that an older start writes
  // after all, stopped at this very line, names a checkpoint that was there too.
  const File file(path_ + kNote, File::Mode::Create);
  file.write_at(text.data(), static_cast<int64_t>(text.size()), 0);
} catch (const Error& failed) {
  log::warning("{}", failed.what());
}

std::optional<RunFolder::NotedCheckpoint> RunFolder::noted_checkpoint() const {
  if (!exists(path_ + kNote)) return std::nullopt;
  const nlohmann::json note = nlohmann::json::parse(read_file(path_ + kNote, 1 << 16), nullptr, false);
  if (!note.is_object() || !note.contains("step") || !note["step"].is_number_integer() || !note.contains("directory") ||
      !note["directory"].is_string())
    return std::nullopt;
  return NotedCheckpoint{note["step"].get<int64_t>(), note["directory"].get<std::string>()};
}

bool has_validation(const std::string& metrics_file, int64_t step) {
  bool found = false;
  each_row_from_the_end(metrics_file, [&](const MetricsRow& row, int64_t) {
    found = found || (step_of(row) == step && std::holds_alternative<ValidationRow>(row));
    return step_of(row) >= step && !found;
  });
  return found;
}

std::optional<std::string> lock_holder(const std::string& run) {
  const int lock = ::open((run + kLock).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (lock < 0) return std::nullopt;
  const bool locked = ::flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  const std::string holder = process_in(lock);
  ::close(lock);
  return locked ? std::optional(holder) : std::nullopt;
}

void each_row_from_the_end(const std::string& path, const std::function<bool(const MetricsRow&, int64_t)>& take) {
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
    const std::optional<MetricsRow> row = parse_row(std::string_view(text).substr(first, end - first));
    if (row && !take(*row, begin + static_cast<int64_t>(end) + 1)) return;
    text.resize(first);
    if (first == 0 && begin == 0) return;
  }
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
