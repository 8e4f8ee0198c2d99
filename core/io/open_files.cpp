#include "core/io/open_files.h"

#include <sys/resource.h>

#include <algorithm>

namespace gta {
namespace {

constexpr rlim_t kMostOpen = 64;
constexpr rlim_t kMostDescriptors = 65536;  // more than anything here needs, where the hard limit is none

}  // namespace

OpenFiles::OpenFiles() : most_(kMostOpen) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) most_ = std::clamp<rlim_t>(limit.rlim_cur / 4, 1, kMostOpen);
}

OpenFiles::OpenFiles(size_t most) : most_(std::max<size_t>(most, 1)) {}

std::shared_ptr<const File> OpenFiles::open(const std::string& path) {
  std::lock_guard lock(mutex_);
  if (const auto found = places_.find(path); found != places_.end()) {
    files_.splice(files_.begin(), files_, found->second);
    return files_.front();
  }
  if (files_.size() == most_) {
    places_.erase(files_.back()->path());
    files_.pop_back();
  }
  files_.push_front(std::make_shared<const File>(path, File::Mode::Read));
  places_[path] = files_.begin();
  return files_.front();
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min(limit.rlim_max, kMostDescriptors);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace gta
