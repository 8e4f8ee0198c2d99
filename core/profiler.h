// Ranges of a profile: name, start, duration and the FLOPs of the products inside. Off (and nearly free) unless a
// Profiler is active. In builds with CUDA every range is an NVTX range too, which Nsight Systems shows (docs/cuda.md).
//
// On the thread that starts it a range lasts from where the device's stream is when the range begins to where it is
// when it ends: of a GPU, that is the time of the work queued inside (each end costs the stream about a microsecond).
// Other threads' ranges are the host's time.
//
//   Profiler profiler;  profiler.start();  { ProfilerRange range("swiglu"); ... }  profiler.stop();
//   profiler.write_chrome_trace(path);     // chrome://tracing, Perfetto
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backends/nvtx.h"
#include "core/device.h"

namespace gta {

struct StreamMark;

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
  Profiler();
  ~Profiler();
  void start(Device device = {});
  void stop();
  // In the order in which they ended. What is asked first waits for the device.
  const std::vector<ProfilerEvent>& events() const;
  // Complete events in microseconds, with "self" and "flops" as arguments. Error(Failed) when the file cannot be
  // written.
  void write_chrome_trace(const std::string& path) const;

  // One row per name, by falling self time: of all ranges, or of the outermost ones called `root` with all inside them.
  // The self times add up to the time of the outermost ones.
  struct Row {
    std::string name;
    int64_t calls = 0;
    double self_seconds = 0;
    double flops = 0;
  };
  std::vector<Row> summary(const std::string& root = {}) const;

 private:
  friend class ProfilerRange;
  struct Ended;  // a range, its times not yet asked for
  Device device_of(uint64_t thread) const { return thread == thread_ ? device_ : Device{}; }

  Device device_;
  uint64_t thread_ = 0;  // that started it
  std::unique_ptr<StreamMark> host_start_, device_start_;
  std::mutex mutex_;
  mutable std::vector<Ended> ended_;
  mutable std::vector<ProfilerEvent> events_;
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
  [[no_unique_address]] NvtxRange nvtx_;
  Profiler* profiler_;
  ProfilerRange* parent_;
  const char* name_;
  std::unique_ptr<StreamMark> begin_;
  double flops_ = 0;
  int depth_ = 0;
};

}  // namespace gta
