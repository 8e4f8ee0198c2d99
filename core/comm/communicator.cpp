#include "core/comm/communicator.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "core/backends/memory_kernels.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/sum_in_order.h"
#include "core/thread.h"

namespace gta {
namespace {

constexpr int64_t kAlignment = 64;  // bytes; a slice of a bucket has whole such

// What ranks compare before a collective.
struct Header {
  int64_t number, bytes;
  std::array<char, 48> name;
};
static_assert(sizeof(Header) == kAlignment);

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

int64_t padded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
// Of a tensor that is cut into a part for each rank.
int64_t part_of_all_reduce(int64_t bytes, int64_t ranks) { return padded((bytes + ranks - 1) / ranks); }
int64_t bytes_of(const Tensor& tensor) { return tensor.elements() * static_cast<int64_t>(size_of(tensor.dtype())); }

void check_tensor(const std::string& name, const Tensor& tensor, int64_t parts) {
  ensure(tensor.device().type != DeviceType::Meta && tensor.contiguous(), "communicator",
         "'{}' needs a tensor without gaps, got {}", name, describe(tensor));
  ensure(tensor.elements() % parts == 0, "communicator", "'{}': {} elements have no {} equal parts", name,
         tensor.elements(), parts);
}

}  // namespace

struct Communicator::Worker {
  struct Task {
    int64_t number;
    std::string name;
    Of of;
    int64_t bytes;
    Run run;
    std::promise<void> done;
  };

  void work(const OpenTransport& open, std::promise<std::pair<int64_t, int64_t>> opened);
  void compare(Transport& transport, const Task& task) const;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Task> tasks;
  Whereabouts where;
  std::exception_ptr broken;  // what ended the collectives
  double tensor_seconds = 0;
  bool closes = false, leaves = false;
  std::string transport_name;
  std::vector<std::string> hosts;
  std::thread thread;
};

void Communicator::Worker::work(const OpenTransport& open, std::promise<std::pair<int64_t, int64_t>> opened) {
  std::unique_ptr<Transport> transport;
  try {
    transport = open();
    transport_name = transport->name();
    opened.set_value({transport->rank(), transport->ranks()});
  } catch (...) {
    opened.set_exception(std::current_exception());
    return;
  }
  Scratch scratch;
  while (true) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !tasks.empty() || closes || leaves; });
    if (leaves) return;
    if (tasks.empty()) break;
    Task task = std::move(tasks.front());
    tasks.pop_front();
    const std::exception_ptr before = broken;
    where.number = task.number;
    where.name = task.name;
    where.inside = !before;
    lock.unlock();
    const Clock::time_point start = Clock::now();
    std::exception_ptr error = before;
    try {
      if (!error) {
        compare(*transport, task);
        task.run(*transport, scratch);
      }
    } catch (...) {
      error = std::current_exception();
    }
    task.run = {};  // what it holds is the caller's again
    lock.lock();
    where.inside = false;
    if (task.of == Of::Tensor) tensor_seconds += seconds_since(start);
    broken = error;
    lock.unlock();
    if (error)
      task.done.set_exception(error);
    else
      task.done.set_value();
  }
  if (broken) return;
  try {
    transport->close();
  } catch (...) {
    const std::lock_guard lock(mutex);
    broken = std::current_exception();
  }
}

void Communicator::Worker::compare(Transport& transport, const Task& task) const {
  std::vector<Header> headers(static_cast<size_t>(transport.ranks()));
  Header& own = headers[static_cast<size_t>(transport.rank())];
  own = {task.number, task.bytes, {}};
  std::memcpy(own.name.data(), task.name.data(), std::min(task.name.size(), own.name.size() - 1));
  const Header mine = own;
  transport.all_gather(headers.data(), sizeof(Header));
  for (size_t r = 0; r < headers.size(); ++r) {
    headers[r].name.back() = '\0';
    if (std::memcmp(&headers[r], &mine, sizeof mine) != 0)
      fail("ranks",
           "rank {} is in collective {}, '{}' of {} bytes, where rank {} is in {}, '{}' of {} bytes: the ranks do not "
           "do the same work; are all of them the same program with the same configuration?",
           r, headers[r].number, headers[r].name.data(), headers[r].bytes, transport.rank(), mine.number,
           mine.name.data(), mine.bytes);
  }
}

Communicator::Communicator() : hosts_{host_name()} {}

Communicator::Communicator(OpenTransport open) : worker_(std::make_shared<Worker>()) {
  std::promise<std::pair<int64_t, int64_t>> opened;
  auto result = opened.get_future();
  worker_->thread = start_thread(
      "speaks to other ranks",
      [worker = worker_, open = std::move(open), promise = std::make_shared<decltype(opened)>(std::move(opened))] {
        worker->work(open, std::move(*promise));
      });
  try {
    std::tie(rank_, ranks_) = result.get();
  } catch (...) {
    worker_->thread.join();
    throw;
  }
  transport_ = worker_->transport_name;
  hosts_ = gather_text("hosts", host_name());
}

Communicator::~Communicator() {
  if (!worker_ || !worker_->thread.joinable()) return;
  bool inside = false;
  {
    const std::lock_guard lock(worker_->mutex);
    worker_->leaves = true;
    inside = worker_->where.inside;
  }
  worker_->changed.notify_all();
  if (inside)
    worker_->thread.detach();
  else
    worker_->thread.join();
}

int64_t Communicator::local_rank() const {
  const auto self = hosts_.begin() + rank_;
  return std::count(hosts_.begin(), self, *self);
}

int64_t Communicator::local_ranks() const {
  return std::count(hosts_.begin(), hosts_.end(), hosts_[static_cast<size_t>(rank_)]);
}

Pending Communicator::begin(std::string name, Of of, int64_t bytes, Run run) {
  std::promise<void> done;
  Pending pending(done.get_future().share());
  {
    const std::lock_guard lock(worker_->mutex);
    ensure(!worker_->closes, "communicator", "'{}' begins after finish()", name);
    worker_->tasks.push_back({++worker_->where.begun, std::move(name), of, bytes, std::move(run), std::move(done)});
  }
  worker_->changed.notify_all();
  return pending;
}

Communicator::Traffic Communicator::traffic() const {
  if (ranks_ == 1) return {};
  const std::lock_guard lock(worker_->mutex);
  return {sent_bytes_, worker_->tensor_seconds};
}

Pending Communicator::begin_on(std::string name, const Tensor& tensor, int64_t part_bytes, int64_t sent_bytes,
                               int64_t scratch_bytes, Access access, RunOn run) {
  sent_bytes_ += (ranks_ - 1) * sent_bytes;
  const Device device = tensor.device();
  char* const data = static_cast<char*>(tensor.raw_data());
  if (lane_ && device == lane_->device()) {
    int64_t number = 0;
    {
      const std::lock_guard lock(worker_->mutex);
      number = ++worker_->where.begun;
    }
    return {lane_->queue(number, std::move(name), tensor, scratch_bytes,
                         [&](Transport& transport, Scratch& scratch) { run(transport, scratch, data); }),
            device};
  }
  if (device.type == DeviceType::Cpu)
    return begin(std::move(name), Of::Tensor, part_bytes,
                 [tensor, data, run = std::move(run)](Transport& transport, Scratch& scratch) {
                   run(transport, scratch, data);
                 });
  const std::shared_ptr<StreamEvent> written = GTA_DISPATCH(device, record_event, Stream{device});
  return begin(std::move(name), Of::Tensor, part_bytes,
               [tensor, data, device, access, written, staging = staging_, run = std::move(run)](Transport& transport,
                                                                                                 Scratch& scratch) {
                 const int64_t bytes = bytes_of(tensor), own_bytes = bytes / transport.ranks(),
                               own_first = own_bytes * transport.rank();
                 char* const copy = staging->take(bytes);
                 const auto each = [&](Part part, const auto& move) {
                   const bool all = part == Part::All;
                   const int64_t first = all ? 0 : own_first, count = all ? bytes : own_bytes;
                   move(copy + first, data + first, count);
                 };
                 written->wait();
                 each(access.reads, [&](char* to, const char* from, int64_t count) {
                   GTA_DISPATCH(device, copy_to_host, device, to, from, count, 1, count);
                 });
                 run(transport, scratch, copy);
                 each(access.writes, [&](const char* from, char* to, int64_t count) {
                   GTA_DISPATCH(device, copy_from_host, Stream{device}, to, count, from, count, 1, count);
                 });
               });
}

Pending Communicator::reduce_scatter(std::string name, const Tensor& parts) {
  if (ranks_ == 1) return {};
  check_tensor(name, parts, ranks_);
  const int64_t bytes = bytes_of(parts) / ranks_, scratch_bytes = reduce_scatter_scratch(bytes * ranks_);
  return begin_on(std::move(name), parts, bytes, bytes, scratch_bytes, {Part::All, Part::Own},
                  [dtype = parts.dtype(), count = parts.elements() / ranks_, bytes, scratch_bytes](
                      Transport& transport, Scratch& scratch, char* data) {
                    char* const received = scratch.take(scratch_bytes);
                    transport.all_to_all(data, received, bytes);
                    GTA_DISPATCH(scratch.device(), sum_in_order, transport.stream(), dtype, received, transport.ranks(),
                                 count, data + transport.rank() * bytes);
                  });
}

int64_t Communicator::all_reduce_scratch(int64_t bytes, int64_t ranks) {
  return 2 * ranks * part_of_all_reduce(bytes, ranks);  // what is sent and what is received
}

Pending Communicator::all_reduce(std::string name, const Tensor& values) {
  if (ranks_ == 1) return {};
  check_tensor(name, values, 1);
  const int64_t bytes = bytes_of(values), scratch_bytes = all_reduce_scratch(bytes, ranks_);
  return begin_on(
      std::move(name), values, bytes, 2 * part_of_all_reduce(bytes, ranks_), scratch_bytes, {Part::All, Part::All},
      [dtype = values.dtype(), bytes, scratch_bytes](Transport& transport, Scratch& scratch, char* data) {
        const Device device = scratch.device();
        const Stream stream = transport.stream();
        const int64_t ranks = transport.ranks(), part = part_of_all_reduce(bytes, ranks), all = part * ranks;
        char* const sent = scratch.take(scratch_bytes);
        char* const received = sent + all;
        GTA_DISPATCH(device, copy_rows, stream, sent, bytes, data, bytes, 1, bytes);
        GTA_DISPATCH(device, fill_zero, stream, sent + bytes, all - bytes, 1, all - bytes);
        transport.all_to_all(sent, received, part);
        GTA_DISPATCH(device, sum_in_order, stream, dtype, received, ranks, part / static_cast<int64_t>(size_of(dtype)),
                     sent + transport.rank() * part);
        transport.all_gather(sent, part);
        GTA_DISPATCH(device, copy_rows, stream, data, bytes, sent, bytes, 1, bytes);
      });
}

Pending Communicator::all_gather(std::string name, const Tensor& parts) {
  if (ranks_ == 1) return {};
  check_tensor(name, parts, ranks_);
  const int64_t bytes = bytes_of(parts) / ranks_;
  return begin_on(std::move(name), parts, bytes, bytes, 0, {Part::Own, Part::All},
                  [bytes](Transport& transport, Scratch&, char* data) { transport.all_gather(data, bytes); });
}

Pending Communicator::all_gather_bytes(std::string name, void* data, int64_t bytes) {
  if (ranks_ == 1) return {};
  return begin(std::move(name), Of::Text, bytes,
               [data, bytes](Transport& transport, Scratch&) { transport.all_gather(data, bytes); });
}

std::vector<std::string> Communicator::gather_text(std::string name, const std::string& text) {
  std::vector<std::string> texts(static_cast<size_t>(ranks_));
  texts[static_cast<size_t>(rank_)] = text;
  if (ranks_ == 1) return texts;
  begin(std::move(name), Of::Text, 0, [&texts, &text](Transport& transport, Scratch& scratch) {
    std::vector<int64_t> sizes(texts.size());
    sizes[static_cast<size_t>(transport.rank())] = static_cast<int64_t>(text.size());
    transport.all_gather(sizes.data(), sizeof(int64_t));
    const int64_t bytes = padded(*std::max_element(sizes.begin(), sizes.end()));
    if (bytes == 0) return;
    char* const all = scratch.take(bytes * transport.ranks());
    char* const own = all + transport.rank() * bytes;
    std::memcpy(own, text.data(), text.size());
    std::memset(own + text.size(), 0, static_cast<size_t>(bytes) - text.size());
    transport.all_gather(all, bytes);
    for (size_t r = 0; r < texts.size(); ++r)
      texts[r].assign(all + static_cast<int64_t>(r) * bytes, static_cast<size_t>(sizes[r]));
  }).wait();
  return texts;
}

std::string Communicator::broadcast_text(std::string name, const std::string& text, int64_t root) {
  if (ranks_ == 1) return text;
  std::string result = rank_ == root ? text : "";
  begin(std::move(name), Of::Text, 0, [&result, root](Transport& transport, Scratch&) {
    int64_t size = static_cast<int64_t>(result.size());
    transport.broadcast(&size, sizeof size, root);
    result.resize(static_cast<size_t>(size));
    if (size > 0) transport.broadcast(result.data(), size, root);
  }).wait();
  return result;
}

void Communicator::together(const std::string& name, const std::function<void()>& part) {
  if (ranks_ == 1) return part();
  // A kind's digit and the message of whoever could not.
  std::string failure;
  try {
    part();
  } catch (const Error& error) {
    if (error.agreed()) throw;  // all ranks are here
    failure = fmt::format("{}{}", static_cast<int>(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    failure = fmt::format("{}{}", static_cast<int>(ErrorKind::OutOfMemory), what_was_thrown());
  } catch (const std::exception& error) {
    failure = fmt::format("{}{}", static_cast<int>(ErrorKind::Failed), error.what());
  }
  const std::vector<std::string> failures = gather_text(name, failure);
  const auto first = std::find_if(failures.begin(), failures.end(), [](const std::string& f) { return !f.empty(); });
  if (first == failures.end()) return;
  const auto kind = static_cast<ErrorKind>(first->front() - '0');
  const std::string message = first->substr(1);
  const bool everywhere = std::count(failures.begin(), failures.end(), *first) == ranks_;
  const int64_t rank = first - failures.begin();
  throw Error(kind, "",
              everywhere
                  ? message
                  : fmt::format("rank {} of {} ({}): {}", rank, ranks_, hosts_[static_cast<size_t>(rank)], message))
      .as_agreed();
}

std::optional<Error> Communicator::attempt(const std::string& name, const std::function<void()>& part) {
  try {
    together(name, part);
    return std::nullopt;
  } catch (const Error& error) {
    if (ranks_ > 1 && !error.agreed()) throw;
    return error;
  }
}

void Communicator::use(Device device, std::unique_ptr<Transport> of_device) {
  auto lane = std::make_shared<DeviceLane>(device, std::move(of_device));
  const std::lock_guard lock(worker_->mutex);
  lane_ = std::move(lane);
}

std::shared_ptr<DeviceLane> Communicator::lane() const {
  if (!worker_) return nullptr;
  const std::lock_guard lock(worker_->mutex);
  return lane_;
}

std::string Communicator::transport_of(const Device& device) const {
  if (device.type == DeviceType::Cpu || ranks_ == 1) return transport_;
  return lane_ ? lane_->transport().name() : transport_ + " through the host";
}

void Communicator::finish() {
  if (!worker_ || !worker_->thread.joinable()) return;
  if (lane_) lane_->close();
  {
    const std::lock_guard lock(worker_->mutex);
    worker_->closes = true;
  }
  worker_->changed.notify_all();
  worker_->thread.join();
  if (worker_->broken) std::rethrow_exception(worker_->broken);
}

Communicator::Whereabouts Communicator::whereabouts() const {
  if (!worker_) return {};
  const std::shared_ptr<DeviceLane> lane = this->lane();
  const std::optional<DeviceLane::Inside> on_device = lane ? lane->inside() : std::nullopt;
  const std::lock_guard lock(worker_->mutex);
  Whereabouts where = worker_->where;
  // What the host waits for in MPI, it waits for after what it has given the device.
  if (!where.inside && on_device) {
    where.number = on_device->number;
    where.name = on_device->name;
    where.inside = true;
  }
  return where;
}

std::string Communicator::failure_of_device() const {
  const std::shared_ptr<DeviceLane> lane = this->lane();
  return lane ? lane->failure() : "";
}

void Communicator::abort_device() const noexcept {
  if (const std::shared_ptr<DeviceLane> lane = this->lane()) lane->abort();
}

}  // namespace gta
