#include "launch/append_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/log.h"

namespace gta {
namespace {

constexpr size_t kMostBuffered = 1 << 14;
constexpr std::chrono::seconds kLongestWait{2};  // so that whoever follows the file sees a slow run's last step

File open_or_make(const std::string& path) {
  return File(path, exists(path) ? File::Mode::ReadWrite : File::Mode::Create);
}

}  // namespace

void keep_beginning(const std::string& path, int64_t bytes) {
  constexpr int64_t kBlock = 1 << 20;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return;  // none, or a link to /dev/null
  const File from(path, File::Mode::Read);
  const int64_t end = std::min(from.size(), bytes);
  publish_file(path, [&](const std::string& temporary) {
    const File to(temporary, File::Mode::Create);
    (void)!::fchmod(to.descriptor(), info.st_mode & 07777);  // where it may not be kept, it is as that of any new file
    std::string block;
    for (int64_t at = 0; at < end; at += static_cast<int64_t>(block.size())) {
      block.resize(static_cast<size_t>(std::min(kBlock, end - at)));
      from.read_at(block.data(), static_cast<int64_t>(block.size()), at);
      to.write_at(block.data(), static_cast<int64_t>(block.size()), at);
    }
  });
}

AppendFile::AppendFile(const std::string& path, int64_t bytes, MayWrite may_write)
    : may_write_(std::move(may_write)),
      file_((keep_beginning(path, bytes), open_or_make(path))),
      bytes_(file_.size()) {}

void AppendFile::add(std::string_view bytes) {
  buffered_ += bytes;
  const auto waited = std::chrono::steady_clock::now() - tried_;
  // While the disk refuses, the buffer is always full: then only the time decides.
  if (waited >= kLongestWait || (buffered_.size() >= kMostBuffered && !warned_)) flush();
}

int64_t AppendFile::flush() {
  tried_ = std::chrono::steady_clock::now();
  if (buffered_.empty()) return bytes_;
  try {
    if (may_write_ && !may_write_()) {
      buffered_.clear();
      return bytes_;
    }
    // At its own offset: a second try overwrites what the first one may have left of it.
    file_.write_at(buffered_.data(), static_cast<int64_t>(buffered_.size()), bytes_);
    bytes_ += static_cast<int64_t>(buffered_.size());
    buffered_.clear();
    warned_ = false;
  } catch (const Error& error) {
    if (!warned_) log::warning("{}; the rows wait in memory", error.what());
    warned_ = true;
  }
  return bytes_;
}

}  // namespace gta
