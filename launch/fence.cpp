#include "launch/fence.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

constexpr const char* kFolder = "/run.fence";
constexpr const char* kTemporary = ".tmp-";
constexpr size_t kMostDigits = 15;
// Of the latest starts the files stay: a listing while others come and go never misses all that are higher.
constexpr int64_t kKept = 10;
constexpr int kTries = 1000;

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

// 0 for what is no number of a start.
int64_t number_of(const std::string& name) {
  if (name.empty() || name.size() > kMostDigits || name.front() == '0' ||
      name.find_first_not_of("0123456789") != std::string::npos)
    return 0;
  return std::stoll(name);
}

// What stands in a file goes to a terminal.
std::string printable(std::string text) {
  std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return text.substr(0, 100);
}

std::string text_of(const nlohmann::json& file, const char* key) {
  if (!file.is_object() || !file.contains(key)) return "";
  const nlohmann::json& value = file[key];
  return printable(value.is_string() ? value.get<std::string>() : value.is_number_integer() ? value.dump() : "");
}

std::string describe(const FenceHolder& holder) {
  if (holder.host.empty()) return "(who took it cannot be read)";
  std::string more;
  const auto add = [&](const char* what, const std::string& value) {
    if (!value.empty()) more += fmt::format("{}{} {}", more.empty() ? "" : ", ", what, value);
  };
  add("pid", holder.pid);
  add("SLURM job", holder.slurm_job);
  add("restart", holder.slurm_restarts);
  add("since", holder.time);
  return fmt::format("on {}{}", holder.host, more.empty() ? "" : " (" + more + ")");
}

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat of_a {
  }, of_b{};
  return ::stat(a.c_str(), &of_a) == 0 && ::stat(b.c_str(), &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

// Removed with whatever ends the attempt.
class TemporaryFile {
 public:
  TemporaryFile(std::string path, const std::string& text) : path_(std::move(path)) {
    try {
      write_synced(path_, text);  // a full disk says so here, before anybody sees the number
    } catch (...) {
      ::unlink(path_.c_str());
      throw;
    }
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  // False where the name is taken, or somebody has removed this file.
  bool link_to(const std::string& name) const {
    if (::link(path_.c_str(), name.c_str()) == 0) return true;
    const int code = errno;
    // A server may have made the link although its answer was lost, and say to the second request that it is there.
    if (code == EEXIST) return is_same_file(path_, name);
    if (code == ENOENT) return false;
    fail(name, "cannot take the number of a start: {}", std::strerror(code));
  }

 private:
  std::string path_;
};

}  // namespace

Fence::Fence(const std::string& run) : path_(run + kFolder), takes_(true) {
  take();
  open();
}

Fence::Fence(const std::string& run, int64_t number) : path_(run + kFolder), takes_(false), number_(number) { open(); }

Fence::~Fence() {
  if (folder_ >= 0) ::close(folder_);
}

void Fence::open() {
  const int opened = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0)
    fail(path_, "cannot be opened, and the ranks of a run have its folder in common: {}", std::strerror(errno));
  if (const int before = std::exchange(folder_, opened); before >= 0) ::close(before);
}

void Fence::make_folder() const {
  if (::mkdir(path_.c_str(), 0777) == 0) return sync_directory(parent_of(path_));
  if (const int code = errno; code != EEXIST) fail(path_, "cannot make the folder: {}", std::strerror(code));
  if (!is_directory(path_)) bad_input(path_, "is a file: expected the folder of the run's starts; move it elsewhere");
}

bool Fence::try_number(int64_t number) const {
  const std::string name = std::to_string(number);
  if (name.size() > kMostDigits)
    fail(path_, "has the number {}, behind which there is none: no start wrote that; remove it", number - 1);
  nlohmann::json text{{"number", number}, {"host", host_name()}, {"pid", ::getpid()}, {"time", now()}};
  for (const auto& [key, from] : {std::pair("slurm_job", "SLURM_JOB_ID"), {"slurm_restarts", "SLURM_RESTART_COUNT"}})
    if (const std::string value = variable(from); !value.empty()) text[key] = value;
  // Hosts may give their processes the same numbers.
  std::random_device random;
  const TemporaryFile file(fmt::format("{}/{}{}-{:08x}{:08x}", path_, kTemporary, ::getpid(), random(), random()),
                           text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  return file.link_to(path_ + "/" + name);
}

void Fence::take() {
  make_folder();
  const auto highest = [&] {
    int64_t number = 0;
    for (const std::string& name : list_directory(path_)) number = std::max(number, number_of(name));
    return number;
  };
  // Tries end only where others take numbers all the time, or remove what is made here.
  for (int tries = 0; tries < kTries; ++tries) {
    const int64_t next = highest() + 1;
    if (!try_number(next)) continue;
    // The list may have been older than the removal of the name that was free.
    if (highest() > next) {
      ::unlink(fmt::format("{}/{}", path_, next).c_str());
      continue;
    }
    number_ = next;
    sync_directory(path_);
    for (const std::string& left : list_directory(path_)) {
      const int64_t number = number_of(left);
      // A start that is about to link what it wrote, and does not find it, writes it again.
      if (left.starts_with(kTemporary) || (number > 0 && number <= next - kKept))
        ::unlink((path_ + "/" + left).c_str());
    }
    return;
  }
  fail(path_, "{} tries to take the number of a start have failed: others take them, or remove what is made there",
       kTries);
}

// Nothing where the folder was removed.
std::optional<std::vector<int64_t>> Fence::numbers() const {
  const auto gone_or_fail = [&](int code) -> std::optional<std::vector<int64_t>> {
    if (code == ENOENT || code == ESTALE) return std::nullopt;
    fail(path_, "cannot be read, and so it is not known whether a later start has taken over: {}", std::strerror(code));
  };
  const int again = ::openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return gone_or_fail(errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(again), ::closedir);
  if (!folder) {
    const int code = errno;
    ::close(again);
    return gone_or_fail(code);
  }
  std::vector<int64_t> found;
  while (true) {
    errno = 0;
    const dirent* const entry = ::readdir(folder.get());
    if (!entry && errno != 0) return gone_or_fail(errno);
    if (!entry) return found;
    if (const int64_t number = number_of(entry->d_name); number > 0) found.push_back(number);
  }
}

// Also where the folder was removed, which some systems list as an empty one, and perhaps made again.
std::vector<int64_t> Fence::numbers_now() {
  if (const auto found = numbers(); found && !found->empty()) return *found;
  if (!is_directory(path_)) return {};
  open();
  return numbers().value_or(std::vector<int64_t>{});
}

FenceHolder Fence::holder(int64_t number) const {
  constexpr size_t kMost = 1 << 14;
  const int file = ::openat(folder_, std::to_string(number).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return {};
  std::string text(kMost, '\0');
  const ssize_t got = ::read(file, text.data(), text.size());
  ::close(file);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, got)));
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  return {text_of(parsed, "host"), text_of(parsed, "pid"), text_of(parsed, "time"), text_of(parsed, "slurm_job"),
          text_of(parsed, "slurm_restarts")};
}

bool Fence::look() {
  const std::lock_guard lock(mutex_);
  if (!taken_over_.empty()) return false;
  std::vector<int64_t> found = numbers_now();
  if (found.empty() && takes_) {
    make_folder();
    const bool made = try_number(number_);
    open();
    found = numbers_now();
    // Whoever began meanwhile began after all were removed, and did not see this one.
    if (made && found.size() > 1) {
      ::unlink(fmt::format("{}/{}", path_, number_).c_str());
      std::erase(found, number_);
    }
  }
  if (found.empty()) return true;  // the rank that took it puts it back
  const int64_t highest = *std::max_element(found.begin(), found.end());
  if (highest == number_) return true;
  taken_over_ = fmt::format(
      "another start of this run, number {} {}, has taken over: this one, number {}, stops and writes nothing more",
      highest, describe(holder(highest)), number_);
  return false;
}

bool Fence::may_write() {
  if (before_look) before_look();
  return look();
}

void Fence::check() {
  if (may_write()) return;
  const std::lock_guard lock(mutex_);
  fail(parent_of(path_), "{}", taken_over_);
}

bool Fence::overtaken() try { return !look(); } catch (const Error&) {
  return false;
}

std::string Fence::taken_over() const {
  const std::lock_guard lock(mutex_);
  return taken_over_;
}

void Fence::believe(const std::string& taken_over) {
  const std::lock_guard lock(mutex_);
  if (taken_over_.empty()) taken_over_ = taken_over;
}

void Fence::moved_to(const std::string& run) {
  const std::lock_guard lock(mutex_);
  path_ = run + kFolder;
}

}  // namespace gta
