// Ranges of a profile: name, start, duration and the FLOPs of the products inside. Off (and nearly free) unless a Profiler is active.
//
//   Profiler profiler;  profiler.start();  { ProfilerRange range("swiglu"); ... }  profiler.stop();
//   profiler.write_chrome_trace(path);     // chrome://tracing, Perfetto
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace gta {

struct ProfilerEvent {
  std::string name;
  double start_seconds = 0;  // since start()
  double seconds = 0;
  double self_seconds = 0;  // less the ranges inside
  double flops = 0;         // of products directly inside this range
  int depth = 0;
  uint64_t thread = 0;
};

class Profiler {
 public:
  void start();
  void stop();
  const std::vector<ProfilerEvent>& events() const { return events_; }
  // Complete events in microseconds, with "self" and "flops" as arguments. Error(Failed) when the file cannot be written.
  void write_chrome_trace(const std::string& path) const;

  // One row per name, by falling self time: of all ranges, or of the outermost ones called `root` with all inside them. The self times add
  // up to the time of the outermost ones.
  struct Row {
    std::string name;
    int64_t calls = 0;
    double self_seconds = 0;
    double flops = 0;
  };
  std::vector<Row> summary(const std::string& root = {}) const;

 private:
  friend class ProfilerRange;
  int64_t start_ = 0;  // nanoseconds of the steady clock
  std::mutex mutex_;
  std::vector<ProfilerEvent> events_;
};

class ProfilerRange {
 public:
  explicit ProfilerRange(const char* name);
  ~ProfilerRange();
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;

  // Counts floating-point operations towards the innermost open range of this thread.
  static void add_flops(double flops);

 private:
  Profiler* profiler_;
  ProfilerRange* parent_;
  const char* name_;
  int64_t start_ = 0, inner_ = 0;  // nanoseconds; of the ranges inside
  double flops_ = 0;
  int depth_ = 0;
};

}  // namespace gta
