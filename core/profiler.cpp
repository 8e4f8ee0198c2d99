#include "core/profiler.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <iterator>
#include <map>
#include <thread>
#include <utility>

#include "core/backends/memory_kernels.h"
#include "core/backends/stream_mark.h"
#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

std::atomic<Profiler*> active{nullptr};
thread_local ProfilerRange* innermost = nullptr;

uint64_t this_thread() { return std::hash<std::thread::id>{}(std::this_thread::get_id()); }

std::unique_ptr<StreamMark> mark(const Device& device) { return GTA_DISPATCH(device, mark_stream, Stream{device}); }

}  // namespace

struct Profiler::Ended {
  const char* name;
  std::unique_ptr<StreamMark> begin, end;
  double flops;
  int depth;
  uint64_t thread;
};

Profiler::Profiler() = default;
Profiler::~Profiler() { stop(); }

void Profiler::start(Device device) {
  events_.clear();
  ended_.clear();
  device_ = device;
  thread_ = this_thread();
  GTA_DISPATCH(device, synchronize, Stream{device});  // so that both clocks begin now
  host_start_ = mark(Device{});
  device_start_ = mark(device);
  active = this;
}

void Profiler::stop() {
  Profiler* mine = this;
  active.compare_exchange_strong(mine, nullptr);  // not another one's, which was started since
}

const std::vector<ProfilerEvent>& Profiler::events() const {
  const auto seconds = [](int64_t nanoseconds) { return 1e-9 * static_cast<double>(nanoseconds); };
  // by thread and depth: the time of ranges whose outer one has not ended
  std::map<uint64_t, std::vector<int64_t>> inside;
  for (const Ended& range : ended_) {
    const StreamMark& start = device_of(range.thread) == Device{} ? *host_start_ : *device_start_;
    const int64_t begin = range.begin->nanoseconds_since(start), duration = range.end->nanoseconds_since(start) - begin;
    std::vector<int64_t>& inner = inside[range.thread];
    inner.resize(std::max(inner.size(), static_cast<size_t>(range.depth) + 2));
    const int64_t self = duration - std::exchange(inner[range.depth + 1], 0);
    inner[range.depth] += duration;
    events_.push_back(
        {range.name, seconds(begin), seconds(duration), seconds(self), range.flops, range.depth, range.thread});
  }
  ended_.clear();
  return events_;
}

std::vector<Profiler::Row> Profiler::summary(const std::string& root) const {
  std::map<std::string, Row> rows;
  // A range is recorded when it ends: what an outermost one holds came since the outermost one before it.
  std::map<uint64_t, std::vector<const ProfilerEvent*>> ended;  // by thread
  for (const ProfilerEvent& event : events()) {
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
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Row& a, const Row& b) { return a.self_seconds > b.self_seconds; });
  return sorted;
}

void Profiler::write_chrome_trace(const std::string& path) const {
  std::string text = "{\"traceEvents\":[\n";
  std::map<uint64_t, int> threads;
  const std::vector<ProfilerEvent>& all = events();
  for (size_t i = 0; i < all.size(); ++i) {
    const ProfilerEvent& event = all[i];
    const int thread = threads.emplace(event.thread, static_cast<int>(threads.size())).first->second;
    fmt::format_to(std::back_inserter(text),
                   "{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":0,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"args\":{{"
                   "\"self\":{:.3f},\"flops\":{:."
                   "0f}}}}}{}\n",
                   event.name, thread, event.start_seconds * 1e6, event.seconds * 1e6, event.self_seconds * 1e6,
                   event.flops, i + 1 < all.size() ? "," : "");
  }
  publish_text(path, text + "]}\n");
}

ProfilerRange::ProfilerRange(const char* name)
    : nvtx_(name), profiler_(active.load(std::memory_order_relaxed)), parent_(innermost), name_(name) {
  if (!profiler_) return;
  depth_ = parent_ ? parent_->depth_ + 1 : 0;
  innermost = this;
  begin_ = mark(profiler_->device_of(this_thread()));
}

ProfilerRange::~ProfilerRange() {
  if (!profiler_) return;
  innermost = parent_;
  const uint64_t thread = this_thread();
  std::unique_ptr<StreamMark> end = mark(profiler_->device_of(thread));
  std::lock_guard lock(profiler_->mutex_);
  profiler_->ended_.push_back({name_, std::move(begin_), std::move(end), flops_, depth_, thread});
}

void ProfilerRange::add_flops(double flops) {
  if (innermost) innermost->flops_ += flops;
}

}  // namespace gta
