#include "launch/append_file.h"

#include <algorithm>

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

AppendFile::AppendFile(const std::string& path, int64_t bytes) : file_(open_or_make(path)) {
  const int64_t size = file_.size();
  if (size > bytes) file_.truncate(bytes);
  bytes_ = std::min(size, bytes);
}

void AppendFile::add(std::string_view bytes) {
  buffered_ += bytes;
  const auto waited = std::chrono::steady_clock::now() - tried_;
  // While the disk refuses, the buffer is always full: then only the time decides.
  if (waited >= kLongestWait || (buffered_.size() >= kMostBuffered && !warned_)) flush();
}

int64_t AppendFile::flush() {
  tried_ = std::chrono::steady_clock::now();
  try {
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
