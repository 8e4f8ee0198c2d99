#include "core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "core/error.h"

namespace gta::log {
namespace {

std::mutex mutex;

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("gta", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::Debug:
      return spdlog::level::debug;
    case Level::Info:
      return spdlog::level::info;
    case Level::Warning:
      return spdlog::level::warn;
    case Level::Error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// A file that may become another's.
class AskedSink final : public spdlog::sinks::sink {
 public:
  AskedSink(std::shared_ptr<spdlog::sinks::sink> file, std::function<bool()> may_write)
      : file_(std::move(file)), may_write_(std::move(may_write)) {}
  void log(const spdlog::details::log_msg& message) override {
    if (may_write_()) file_->log(message);
  }
  void flush() override { file_->flush(); }
  void set_pattern(const std::string& pattern) override { file_->set_pattern(pattern); }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    file_->set_formatter(std::move(formatter));
  }

 private:
  std::shared_ptr<spdlog::sinks::sink> file_;
  std::function<bool()> may_write_;
};

std::shared_ptr<spdlog::sinks::sink> file_sink(const std::string& path) {
  auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
  sink->set_pattern("%Y-%m-%d %H:%M:%S %v");
  return sink;
}

void write_to(spdlog::logger& to, Level level, std::string_view message) {
  const char* prefix = level == Level::Warning ? "gta: warning: " : level == Level::Error ? "gta: error: " : "";
  to.log(level_of(level), "{}{}", prefix, message);
}

}  // namespace

void write(Level level, std::string_view message) {
  std::lock_guard lock(mutex);
  write_to(logger(), level, message);
}

void write_to_file(Level level, std::string_view message) {
  std::lock_guard lock(mutex);
  const auto& sinks = logger().sinks();
  if (sinks.size() < 2) return;
  spdlog::logger to("file", sinks.back());
  to.flush_on(spdlog::level::info);
  write_to(to, level, message);
}

void set_level(Level level) {
  std::lock_guard lock(mutex);
  logger().set_level(level_of(level));
}

void set_console_level(Level level) {
  std::lock_guard lock(mutex);
  logger().sinks().front()->set_level(level_of(level));
}

void attach_file(const std::string& path, Level least, std::function<bool()> may_write) {
  detach_file();
  std::lock_guard lock(mutex);
  try {
    auto sink = file_sink(path);
    if (may_write) sink = std::make_shared<AskedSink>(std::move(sink), std::move(may_write));
    sink->set_level(level_of(least));
    logger().sinks().push_back(std::move(sink));
  } catch (const spdlog::spdlog_ex&) {
    fail(path, "the log cannot be written: {}", std::strerror(errno));
  }
}

void append_to(const std::string& path, Level level, std::string_view message) try {
  // The sink would make it, and the folders above it: of a run that was removed nothing is made again.
  if (::access(path.c_str(), F_OK) != 0) return;
  spdlog::logger to("file", file_sink(path));
  write_to(to, level, message);
} catch (const spdlog::spdlog_ex&) {
}

void detach_file() {
  std::lock_guard lock(mutex);
  if (logger().sinks().size() > 1) logger().sinks().pop_back();
}

}  // namespace gta::log
