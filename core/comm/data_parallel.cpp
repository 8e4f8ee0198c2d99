#include "core/comm/data_parallel.h"

#include <utility>

#include "core/clock.h"
#include "core/profiler.h"

namespace gta {

DataParallel::DataParallel(ParameterSpace& space, Communicator& communicator)
    : space_(space), communicator_(communicator) {
  const RankShare& share = space.share();
  ensure(share.rank == communicator.rank() && share.ranks == communicator.ranks(), "data_parallel",
         "the parameters are rank {}'s of {}, the communicator rank {}'s of {}", share.rank, share.ranks,
         communicator.rank(), communicator.ranks());
  if (share.ranks == 1) return;
  groups_.resize(space.layout().buckets().size());
  for (const ParameterGroup& group : space.layout().groups()) ++groups_[static_cast<size_t>(group.bucket)];
  left_ = groups_;
  pending_.resize(groups_.size());
}

size_t DataParallel::bucket_of(const Weight& weight) const {
  return static_cast<size_t>(space_.layout().groups()[static_cast<size_t>(weight.group)].bucket);
}

GradientListener DataParallel::gradients_complete() {
  if (groups_.empty()) return {};
  return [this](const Weight& weight) {
    --left_[bucket_of(weight)];
    // In the order of their numbers, whatever completes first: it is every rank's order, also of one whose backward
    // ends in the middle.
    while (next_ < left_.size() && left_[next_] == 0) send(next_++);
  };
}

void DataParallel::send(size_t bucket) {
  const FlatRange& range = space_.layout().buckets()[bucket];
  if (range.count == 0) return;
  const Tensor gradients = space_.gradients().slice(range);
  std::vector<Pending>& pending = pending_[bucket];
  if (range.kind == ParameterKind::Vector) {
    pending.push_back(communicator_.all_reduce("gradients of vectors", gradients));
    return;
  }
  pending.push_back(communicator_.reduce_scatter(fmt::format("gradients of bucket {}", bucket), gradients));
  if (space_.share().sharding == Sharding::None)
    pending.push_back(communicator_.all_gather(fmt::format("summed gradients of bucket {}", bucket), gradients));
}

void DataParallel::finish_gradients() {
  if (groups_.empty()) return;
  while (next_ < groups_.size()) send(next_++);
  next_ = 0;
  left_ = groups_;
  for (std::vector<Pending>& pending : pending_) wait(pending);
}

void DataParallel::begin_weights() {
  if (groups_.empty() || space_.share().sharding == Sharding::None) return;
  for (size_t bucket = pending_.size(); bucket-- > 0;) {
    const FlatRange& range = space_.layout().buckets()[bucket];
    if (range.kind == ParameterKind::Vector || range.count == 0) continue;  // every rank updates them
    pending_[bucket].push_back(communicator_.all_gather(
        fmt::format("weights of bucket {}", bucket), flat_slice(space_.weights(range.kind), range.first, range.count)));
  }
}

WeightUse DataParallel::weights_needed() {
  if (groups_.empty()) return {};
  return [this](const Weight& weight) { wait(pending_[bucket_of(weight)]); };
}

void DataParallel::finish_weights() {
  for (std::vector<Pending>& pending : pending_) wait(pending);
}

void DataParallel::wait(std::vector<Pending>& pending) {
  if (pending.empty()) return;
  ProfilerRange range("communication");
  const Clock::time_point start = Clock::now();
  const Device device = space_.device();
  const auto mark = [&] { return GTA_DISPATCH(device, mark_stream, Stream{device}); };
  const bool queued = device.type != DeviceType::Cpu;
  std::unique_ptr<StreamMark> begin = queued ? mark() : nullptr;
  for (const Pending& one : pending) one.wait();
  pending.clear();
  if (queued) device_waits_.add(std::move(begin), mark());
  seconds_waited_ += seconds_since(start);
}

double DataParallel::take_seconds_waited() { return std::exchange(seconds_waited_, 0); }

double DeviceWaits::seconds() const {
  int64_t nanoseconds = 0;
  for (const auto& [begin, end] : waits_) nanoseconds += end->nanoseconds_since(*begin);
  return 1e-9 * static_cast<double>(nanoseconds);
}

}  // namespace gta
