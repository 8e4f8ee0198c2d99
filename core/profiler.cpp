#include "core/profiler.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <thread>

#include "core/error.h"

namespace gta {
namespace {

std::atomic<Profiler*> active{nullptr};
thread_local ProfilerRange* innermost = nullptr;

// Whole nanoseconds, so that the differences of a trace add up exactly.
int64_t now() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double seconds(int64_t nanoseconds) { return 1e-9 * static_cast<double>(nanoseconds); }

}  // namespace

void Profiler::start() {
  events_.clear();
  start_ = now();
  active = this;
}

void Profiler::stop() { active = nullptr; }

std::vector<Profiler::Row> Profiler::summary(const std::string& root) const {
  std::map<std::string, Row> rows;
  // A range is recorded when it ends: what an outermost one holds came since the outermost one before it.
  std::map<uint64_t, std::vector<const ProfilerEvent*>> ended;  // by thread
  for (const ProfilerEvent& event : events_) {
    std::vector<const ProfilerEvent*>& inside = ended[event.thread];
    inside.push_back(&event);
    if (event.depth > 0) continue;
    if (!root.empty() && event.name != root) inside.clear();
    for (const ProfilerEvent* counted : inside) {
      Row& row = rows[counted->name];
      row.name = counted->name;
      ++row.calls;
      row.self_seconds += counted->self_seconds;
      row.flops += counted->flops;
    }
    inside.clear();
  }
  std::vector<Row> sorted;
  for (auto& [name, row] : rows) sorted.push_back(row);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Row& a, const Row& b) { return a.self_seconds > b.self_seconds; });
  return sorted;
}

void Profiler::write_chrome_trace(const std::string& path) const {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (!file) fail("profile", "cannot write {}", path);
  fmt::print(file, "{{\"traceEvents\":[\n");
  std::map<uint64_t, int> threads;
  for (size_t i = 0; i < events_.size(); ++i) {
    const ProfilerEvent& event = events_[i];
    const int thread = threads.emplace(event.thread, static_cast<int>(threads.size())).first->second;
    fmt::print(file,
               "{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":0,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"args\":{{\"self\":{:.3f},\"flops\":{:."
               "0f}}}}}{}\n",
               event.name, thread, event.start_seconds * 1e6, event.seconds * 1e6, event.self_seconds * 1e6, event.flops,
               i + 1 < events_.size() ? "," : "");
  }
  fmt::print(file, "]}}\n");
  const bool bad = std::ferror(file);
  if (std::fclose(file) != 0 || bad) fail("profile", "cannot write {}: the disk may be full", path);
}

ProfilerRange::ProfilerRange(const char* name) : profiler_(active.load(std::memory_order_relaxed)), parent_(innermost), name_(name) {
  if (!profiler_) return;
  depth_ = parent_ ? parent_->depth_ + 1 : 0;
  innermost = this;
  start_ = now();
}

ProfilerRange::~ProfilerRange() {
  if (!profiler_) return;
  const int64_t duration = now() - start_;
  innermost = parent_;
  if (parent_) parent_->inner_ += duration;
  std::lock_guard lock(profiler_->mutex_);
  profiler_->events_.push_back({name_, seconds(start_ - profiler_->start_), seconds(duration), seconds(duration - inner_), flops_, depth_,
                                std::hash<std::thread::id>{}(std::this_thread::get_id())});
}

void ProfilerRange::add_flops(double flops) {
  if (innermost) innermost->flops_ += flops;
}

}  // namespace gta
