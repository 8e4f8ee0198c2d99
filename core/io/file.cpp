#include "core/io/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/io/unfinished.h"

namespace gta {
namespace {

[[noreturn]] void fail_system(const std::string& path, const char* what) {
  const int code = errno;
  fail(path, "cannot {}: {}", what, std::strerror(code));
}

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// Whether a folder is one of those that the file lies in.
bool lies_in(const std::filesystem::path& file, const struct stat& folder) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::canonical(file, error);
  for (std::filesystem::path at = whole.parent_path(); !error && !at.empty(); at = at.parent_path()) {
    struct stat info {};
    if (::stat(at.c_str(), &info) == 0 && same_file(info, folder)) return true;
    if (at == at.root_path()) break;
  }
  return false;
}

// False where there is nothing of this name.
bool find(const std::string& path, struct stat& info) {
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno == EACCES) bad_input(path, "cannot look at it: {}", std::strerror(errno));
  if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP) fail_system(path, "look at it");
  return false;
}

}  // namespace

File::File(std::string path, Mode mode) : path_(std::move(path)) {
  const int flags = mode == Mode::Read ? O_RDONLY : mode == Mode::ReadWrite ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC;
  do descriptor_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0644);
  while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) fail_system(path_, mode == Mode::Read ? "open" : "write");
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

int64_t File::size() const {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) fail_system(path_, "read the size");
  return info.st_size;
}

void File::read_at(void* to, int64_t bytes, int64_t offset) const {
  char* out = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system(path_, "read");
    if (got == 0) fail(path_, "ends at byte {}: {} more were expected", offset, bytes);
    out += got;
    offset += got;
    bytes -= got;
  }
}

void File::write_at(const void* from, int64_t bytes, int64_t offset) const {
  const char* in = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t put = ::pwrite(descriptor_, in, static_cast<size_t>(bytes), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail_system(path_, "write");
    in += put;
    offset += put;
    bytes -= put;
  }
}

void File::truncate(int64_t bytes) const {
  if (::ftruncate(descriptor_, bytes) != 0) fail_system(path_, "truncate");
}

void File::sync() const {
  if (::fsync(descriptor_) != 0) fail_system(path_, "sync to disk");
}

void File::close() {
  if (descriptor_ >= 0 && ::close(std::exchange(descriptor_, -1)) != 0) fail_system(path_, "close");
}

void require_file(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode))
    bad_input(path, "is not a regular file, but a {}",
              S_ISDIR(info.st_mode)    ? "folder"
              : S_ISFIFO(info.st_mode) ? "pipe"
                                       : "disk or a socket");
}

std::string read_file(const std::string& path, int64_t limit) {
  require_file(path);
  struct stat info {};
  const File file(path, File::Mode::Read);
  if (::fstat(file.descriptor(), &info) != 0) fail_system(path, "read the size");
  if (!S_ISREG(info.st_mode)) bad_input(path, "is not a regular file");
  if (info.st_size > limit)
    bad_input(path, "has {} bytes: at most {} are expected of such a file", static_cast<int64_t>(info.st_size), limit);
  std::string text(static_cast<size_t>(info.st_size), '\0');
  file.read_at(text.data(), info.st_size, 0);
  return text;
}

bool exists(const std::string& path) {
  struct stat info {};
  return find(path, info);
}

bool is_directory(const std::string& path) {
  struct stat info {};
  return find(path, info) && S_ISDIR(info.st_mode);
}

// By the system's calls: without memory std::filesystem's iterator ends the program (libstdc++ 12).
std::vector<std::string> list_directory(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) fail_system(path, "list");
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* const entry = ::readdir(folder.get());
    if (!entry && errno != 0) fail_system(path, "list");
    if (!entry) break;
    if (const std::string name = entry->d_name; name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool refuses_the_name(int code) {
  for (int refusal : {ENOENT, ENOTDIR, EISDIR, EEXIST, EACCES, EPERM, EROFS, ELOOP, ENAMETOOLONG, EINVAL})
    if (code == refusal) return true;
  return false;
}

std::optional<std::string> nowhere_behind(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error) || std::filesystem::exists(path, error)) return std::nullopt;
  return std::filesystem::read_symlink(path, error).string();
}

void make_directories(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(path, error);
  for (fs::path part = path; error && !part.empty() && part != part.parent_path(); part = part.parent_path())
    if (const auto target = nowhere_behind(part))
      fail(part, "is a link to {}, which is not there: mount its disk, or remove the link", *target);
  if (error && refuses_the_name(error.value())) bad_input(path, "cannot make the folder: {}", error.message());
  if (error) fail(path, "cannot make the folder: {}", error.message());
}

void remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) fail(path, "cannot remove: {}", error.message());
}

void sync_directory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_system(path, "open");
  const int status = ::fsync(descriptor), code = errno;
  ::close(descriptor);
  // Some network file systems cannot sync a folder and say EINVAL; the rename is then as durable as they make it.
  if (status != 0 && code != EINVAL) {
    errno = code;
    fail_system(path, "sync to disk");
  }
}

void rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail_system(to, "rename to it");
}

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string output_file(const std::string& path, const std::vector<std::string>& inputs) {
  constexpr int kMostLinks = 40;  // as many as the system follows
  // By the name that was given: where it leads may have no name of its own (/dev/stdout, when that is a pipe).
  struct stat info {};
  const bool there = ::stat(path.c_str(), &info) == 0;
  if (there && S_ISDIR(info.st_mode)) bad_input(path, "is a folder: expected the name of a file");
  if (there && !S_ISREG(info.st_mode)) bad_input(path, "is a device, a pipe or a socket: expected the name of a file");
  if (!there && errno == ENAMETOOLONG) bad_input(path, "is too long for the name of a file: choose a shorter one");
  std::filesystem::path file = path;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(file, error); ++links) {
    if (links == kMostLinks) bad_input(path, "is a symbolic link that leads nowhere: expected the name of a file");
    file = file.parent_path() / std::filesystem::read_symlink(file, error);
    if (error) fail(path, "cannot follow the symbolic link: {}", error.message());
  }
  const std::string folder = parent_of(file.string());
  if (!there && (file.filename().empty() || !is_directory(folder)))
    bad_input(path, "cannot be written: the folder {} does not exist", folder);
  if (::access(folder.c_str(), W_OK) != 0)
    bad_input(path, "cannot be written: {} in its folder {}", std::strerror(errno), folder);
  if (!there) return file.string();
  for (const std::string& input : inputs) {
    struct stat read {};
    if (::stat(input.c_str(), &read) != 0) continue;
    if (same_file(info, read)) bad_input(path, "is {}, which is read: choose another name for what is written", input);
    if (S_ISDIR(read.st_mode) && lies_in(file, read))
      bad_input(path, "is a file of {}, which is read: choose another name for what is written", input);
  }
  return file.string();
}

void check_output_folder(const std::string& path) {
  std::string nearest = path;
  while (!exists(nearest)) nearest = parent_of(nearest);
  if (!is_directory(nearest)) bad_input(path, "cannot be a folder: {} is a file", nearest);
  if (::access(nearest.c_str(), W_OK | X_OK) != 0)
    bad_input(path, "cannot be written: {} in {}", std::strerror(errno), nearest);
}

void try_to_write_in(const std::string& folder) {
  const std::string path = folder + "/.tmp-try-" + std::to_string(::getpid());
  if (::mkdir(path.c_str(), 0777) != 0 || ::rmdir(path.c_str()) != 0)
    bad_input(folder, "cannot be written: {}", std::strerror(errno));
}

std::optional<int64_t> free_bytes(const std::string& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0 || info.f_blocks == 0) return std::nullopt;
  const __int128 bytes = static_cast<__int128>(info.f_bavail) * info.f_frsize;
  return static_cast<int64_t>(std::min<__int128>(bytes, INT64_MAX));
}

std::string temporary_name(const std::string& file) {
  constexpr size_t kLongestName = 255;
  const std::filesystem::path path(file);
  const std::string suffix = ".tmp-" + std::to_string(::getpid()), name = path.filename().string();
  return (path.parent_path() / (name.substr(0, kLongestName - suffix.size()) + suffix)).string();
}

void publish_file(const std::string& path, const std::function<void(const std::string&)>& write) {
  const std::string target = output_file(path), temporary = temporary_name(target);
  const Unfinished unfinished(temporary);
  try {
    write(temporary);
    File file(temporary, File::Mode::ReadWrite);
    file.sync();
    file.close();
    rename_path(temporary, target);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(parent_of(target));
}

void publish_text(const std::string& path, const std::string& text) {
  publish_file(path, [&](const std::string& temporary) {
    File file(temporary, File::Mode::Create);
    file.write_at(text.data(), static_cast<int64_t>(text.size()), 0);
    file.close();
  });
}

void write_synced(const std::string& path, const std::string& text) {
  File file(path, File::Mode::Create);
  file.write_at(text.data(), static_cast<int64_t>(text.size()), 0);
  file.sync();
  file.close();
}

}  // namespace gta
