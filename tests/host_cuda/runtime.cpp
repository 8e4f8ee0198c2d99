// What libcudart offers, as far as the framework uses it, on the host. Streams are queues: unless options().eager,
// nothing runs before a synchronisation asks for it, and then streams go on in a random order that their events allow,
// so that what lacks an event shows.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/host_cuda/engine.h"
#include "tests/host_cuda/memory.h"
#include "tests/host_cuda/options.h"
#include "tests/host_cuda/sanitizers.h"
#include "tests/host_cuda/waits.h"

struct CUevent_st {
  uint64_t version = 0;  // of its last record; 0: never recorded
};
using Clock = std::chrono::steady_clock;

namespace {

struct Work {
  std::function<void()> run;
  enum class Event { None, Record, Wait } event = Event::None;
  uint64_t version = 0;
  const char* what = "";
  std::function<bool()> advance;  // until it returns true the stream stays here
};

}  // namespace

struct CUstream_st {
  std::deque<std::unique_ptr<Work>> queue;
  void* tsan = __tsan_create_fiber ? __tsan_create_fiber(0) : nullptr;
  char queued = 0, done = 0;  // ThreadSanitizer's objects
};

namespace host_cuda {
namespace {

std::recursive_mutex mutex;

struct Runtime {
  std::vector<CUstream_st*> streams;
  std::map<const void*, size_t> shared_limits;
  std::map<uint64_t, Clock::time_point> recorded;  // versions of events, and when
  uint64_t next_version = 1;
  Random random{options().seed};
};
Runtime& runtime() {
  static auto& made = *new Runtime;
  return made;
}

Waits waited;  // under the mutex

thread_local cudaError_t last_error = cudaSuccess;
cudaError_t failed(cudaError_t error) { return last_error = error; }

// An address for ThreadSanitizer to know an event by.
void* sync_of(uint64_t version) {
  static char objects[1 << 16];
  return &objects[version % sizeof objects];
}

bool can_run(const CUstream_st* stream) {
  if (stream->queue.empty()) return false;
  const Work& work = *stream->queue.front();
  if (work.advance) {
    const DeviceAccess access;
    return work.advance();
  }
  return work.event != Work::Event::Wait || runtime().recorded.contains(work.version);
}

void run_first(CUstream_st* stream) {
  std::unique_ptr<Work> held = std::move(stream->queue.front());
  Work& work = *held;
  stream->queue.pop_front();
  // In the stream's name nothing on the caller's stack is touched, nor anything freed: that would look like a race with
  // what lies there next.
  const bool records = work.event == Work::Event::Record, waits = work.event == Work::Event::Wait;
  auto* const sync = records || waits ? sync_of(work.version) : nullptr;
  void* const caller = stream->tsan ? __tsan_get_current_fiber() : nullptr;
  if (caller) {  // a thread of its own: after what queued the work and after events, but after nothing else
    __tsan_switch_to_fiber(stream->tsan, 1);
    acquire(&stream->queued);
    if (waits) acquire(sync);
  }
  if (work.run) {
    const DeviceAccess access;
    work.run();
  }
  if (records) release(sync);
  if (caller) {
    release(&stream->done);
    __tsan_switch_to_fiber(caller, 1);
  }
  if (records) runtime().recorded[work.version] = Clock::now();
  if (caller) held.release();
}

CUstream_st* recorder_of(uint64_t version) {
  for (CUstream_st* stream : runtime().streams)
    for (const std::unique_ptr<Work>& work : stream->queue)
      if (work->event == Work::Event::Record && work->version == version) return stream;
  fail("a stream waits for an event that no stream will record");
}

// Lets other threads of this process have the device, while this one waits for another process. Callers hold the mutex
// once.
void pause() {
  mutex.unlock();
  std::this_thread::sleep_for(std::chrono::microseconds(100));
  mutex.lock();
}

// Runs one piece of work that brings the stream on: its first, or what that waits for.
void advance(CUstream_st* stream) {
  for (size_t i = 0; i <= runtime().streams.size(); ++i) {
    if (can_run(stream)) return run_first(stream);
    if (stream->queue.front()->advance) return pause();
    stream = recorder_of(stream->queue.front()->version);
  }
  fail("streams wait for each other");
}

// Runs the first work of any stream that can go on; false when none can.
bool run_any() {
  Runtime& r = runtime();
  std::vector<CUstream_st*> ready;
  for (CUstream_st* stream : r.streams)
    if (can_run(stream)) ready.push_back(stream);
  if (ready.empty()) return false;
  run_first(ready[r.random.below(static_cast<uint32_t>(ready.size()))]);
  return true;
}

template <class Done>
void run_until(CUstream_st* stream, Done&& done) {
  const DeviceAccess access;  // opened once for all that runs now
  while (!done()) {
    if (!options().eager && runtime().random.below(2) == 0 && run_any()) continue;
    if (!done()) advance(stream);  // another thread may have run all meanwhile
  }
}

// A question whether work is done may come before or after some of it; who asks often enough hears yes.
template <class Done>
cudaError_t query(Done&& done) {
  if (!done() && runtime().random.below(2) == 0) run_any();
  return done() ? cudaSuccess : failed(cudaErrorNotReady);  // which cudaGetLastError() then reports, as a device does
}

void finish(CUstream_st* stream) {
  run_until(stream, [&] { return stream->queue.empty(); });
  acquire(&stream->done);
}

void finish_all() {
  for (CUstream_st* stream : runtime().streams) finish(stream);
}

CUstream_st* named(cudaStream_t stream) {
  if (!stream || stream == cudaStreamLegacy || stream == cudaStreamPerThread)
    fail("work on the default stream: give it a stream of its own");
  return stream;
}

void push(CUstream_st* stream, Work work) {
  if (in_kernel()) fail("%s inside a kernel", work.what);
  stream->queue.push_back(std::make_unique<Work>(std::move(work)));
  release(&stream->queued);  // after the last write to what the stream will read
  if (options().eager) run_until(stream, [&] { return stream->queue.empty(); });
}

struct Copy {
  char* to;
  size_t to_pitch;
  const char* from;
  size_t from_pitch, row_bytes, rows;
  size_t span(size_t pitch) const { return rows == 0 || row_bytes == 0 ? 0 : (rows - 1) * pitch + row_bytes; }
};

void expect_inside(const void* p, size_t bytes, const char* what) {
  size_t left = 0;
  if (is_allocated(p, &left) && bytes > left)
    fail("%s of %zu bytes, %zu beyond the end of an allocation", what, bytes, bytes - left);
}

// Memory that is neither the device's nor pinned is copied while the call lasts.
cudaError_t copy(const Copy& c, cudaStream_t to_stream) {
  const std::lock_guard lock(mutex);
  CUstream_st* const stream = named(to_stream);
  if (c.row_bytes > c.to_pitch || c.row_bytes > c.from_pitch) return failed(cudaErrorInvalidPitchValue);
  expect_inside(c.to, c.span(c.to_pitch), "a copy to memory");
  expect_inside(c.from, c.span(c.from_pitch), "a copy from memory");
  if (is_of_device(c.from) && !is_of_device(c.to)) waited.bytes += static_cast<int64_t>(c.row_bytes * c.rows);
  std::shared_ptr<std::vector<char>> staged;
  if (!is_allocated(c.from)) staged = std::make_shared<std::vector<char>>(c.from, c.from + c.span(c.from_pitch));
  push(stream, {[c, staged] {
                  const char* const from = staged ? staged->data() : c.from;
                  for (size_t r = 0; r < c.rows; ++r)
                    std::memcpy(c.to + r * c.to_pitch, from + r * c.from_pitch, c.row_bytes);
                },
                Work::Event::None, 0, "a copy"});
  if (!is_allocated(c.to)) finish(stream);
  return cudaSuccess;
}

cudaError_t fill(void* to, size_t pitch, int value, size_t row_bytes, size_t rows, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  expect_inside(to, rows == 0 ? 0 : (rows - 1) * pitch + row_bytes, "a fill");
  push(named(stream), {[=] {
                         for (size_t r = 0; r < rows; ++r)
                           std::memset(static_cast<char*>(to) + r * pitch, value, row_bytes);
                       },
                       Work::Event::None, 0, "a fill"});
  return cudaSuccess;
}

cudaError_t allocate(void** p, size_t bytes, Kind kind) {
  const std::lock_guard lock(mutex);
  *p = allocate_memory(bytes, kind);
  return *p ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}

}  // namespace

void enqueue(cudaStream_t stream, const char* what, std::function<void()> work) {
  const std::lock_guard lock(mutex);
  push(named(stream), {std::move(work), Work::Event::None, 0, what});
}

void enqueue_in_steps(cudaStream_t stream, const char* what, std::function<bool()> advance) {
  const std::lock_guard lock(mutex);
  push(named(stream), {nullptr, Work::Event::None, 0, what, std::move(advance)});
}

void run_some() {
  const std::lock_guard lock(mutex);
  run_any();
}

cudaError_t enqueue_kernel(const char* name, const void* kernel, dim3 grid, dim3 block, size_t shared,
                           cudaStream_t stream, std::function<void()> body) {
  const std::lock_guard lock(mutex);
  const auto limit = runtime().shared_limits.find(kernel);
  const size_t most = limit == runtime().shared_limits.end() ? kSharedWithoutAsking : limit->second;
  const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
  if (shared > most || threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return failed(cudaErrorInvalidValue);
  push(named(stream),
       {[=, text = std::string(name), body = std::move(body)] { run_grid(text.c_str(), grid, block, shared, body); },
        Work::Event::None, 0, "a launch"});
  return cudaSuccess;
}

Waits waits() {
  const std::lock_guard lock(mutex);
  return waited;
}

}  // namespace host_cuda

using namespace host_cuda;  // the definitions below have CUDA's names

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : failed(cudaErrorInvalidDevice); }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 8;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(options().shared);
      return cudaSuccess;
    default:
      fail("cudaDeviceGetAttribute: the host has no attribute %d", static_cast<int>(attribute));
  }
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "no GPU: kernels are executed on the CPU");
  properties->major = 8;
  properties->multiProcessorCount = 4;
  properties->sharedMemPerBlockOptin = options().shared;
  properties->totalGlobalMem = kDeviceBytes;
  const int process = static_cast<int>(::getpid());  // whose device it is
  std::memcpy(properties->uuid.bytes, &process, sizeof process);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(mutex);
  *total = kDeviceBytes;
  *free = kDeviceBytes - allocated_bytes();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) { return allocate(p, bytes, Kind::Device); }
cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const cudaError_t status = allocate(p, bytes, Kind::Ordered);
  if (status == cudaSuccess)
    push(named(stream), {[allocated = *p] { make_usable(allocated); }, Work::Event::None, 0, "an allocation"});
  return status;
}
cudaError_t cudaMallocFromPoolAsync(void** p, size_t bytes, cudaMemPool_t, cudaStream_t stream) {
  return cudaMallocAsync(p, bytes, stream);
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  const std::lock_guard lock(mutex);
  ++waited.whole;
  return allocate(p, bytes, Kind::Pinned);
}
cudaError_t cudaMallocHost(void** p, size_t bytes) { return cudaHostAlloc(p, bytes, 0); }
cudaError_t cudaFree(void* p) {
  const std::lock_guard lock(mutex);
  ++waited.whole;
  finish_all();
  const DeviceAccess access;
  if (p) free_memory(p);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  push(named(stream), {[p] { free_memory(p); }, Work::Event::None, 0, "a free"});
  return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static char object;
  *pool = reinterpret_cast<cudaMemPool_t>(&object);
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* value) {
  const std::lock_guard lock(mutex);
  *static_cast<uint64_t*>(value) = allocated_bytes();
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return copy({static_cast<char*>(to), bytes, static_cast<const char*>(from), bytes, bytes, 1}, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t row_bytes,
                              size_t rows, cudaMemcpyKind, cudaStream_t stream) {
  return copy({static_cast<char*>(to), to_pitch, static_cast<const char*>(from), from_pitch, row_bytes, rows}, stream);
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  const std::lock_guard lock(mutex);
  ++waited.whole;
  finish_all();
  const DeviceAccess access;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return fill(to, bytes, value, bytes, 1, stream);
}
cudaError_t cudaMemset2DAsync(void* to, size_t pitch, int value, size_t row_bytes, size_t rows, cudaStream_t stream) {
  return fill(to, pitch, value, row_bytes, rows, stream);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(mutex);
  runtime().streams.push_back(*stream = new CUstream_st);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  finish(named(stream));
  std::erase(runtime().streams, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  ++waited.whole;
  finish(named(stream));
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const cudaError_t status = query([s = named(stream)] { return s->queue.empty(); });
  if (status == cudaSuccess) acquire(&stream->done);
  return status;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(mutex);
  if (event->version == 0) fail("cudaStreamWaitEvent for an event that was never recorded, which waits for nothing");
  push(named(stream), {nullptr, Work::Event::Wait, event->version, "a wait"});
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(mutex);
  ++waited.whole;
  finish_all();
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  event->version = runtime().next_version++;
  push(named(stream), {nullptr, Work::Event::Record, event->version, "a record"});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  ++waited.events;
  const uint64_t version = event->version;
  const auto done = [version] { return version == 0 || runtime().recorded.contains(version); };
  if (!done()) run_until(recorder_of(version), done);
  acquire(sync_of(version));
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  const uint64_t version = event->version;
  const cudaError_t status = query([version] { return version == 0 || runtime().recorded.contains(version); });
  if (status == cudaSuccess) acquire(sync_of(version));
  return status;
}
// Of the CPU's execution: no GPU's time.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const std::lock_guard lock(mutex);
  const auto begin = runtime().recorded.find(from->version), end = runtime().recorded.find(to->version);
  if (begin == runtime().recorded.end() || end == runtime().recorded.end()) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->second - begin->second).count();
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const std::lock_guard lock(mutex);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    fail("cudaFuncSetAttribute: the host has no attribute %d", static_cast<int>(attribute));
  if (value < 0 || value > static_cast<int>(options().shared)) return failed(cudaErrorInvalidValue);
  runtime().shared_limits[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorInvalidPitchValue:
      return "cudaErrorInvalidPitchValue";
    default:
      return "another error";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

}  // extern "C"
