#include "core/comm/device_lane.h"

#include <utility>

namespace gta {

bool Scratch::has(int64_t bytes) const {
  return memory_.defined() && memory_.elements() * static_cast<int64_t>(size_of(DType::F32)) >= bytes;
}

char* Scratch::take(int64_t bytes) {
  constexpr int64_t size = size_of(DType::F32);
  if (!has(bytes)) {
    memory_ = {};  // before the larger one is asked for
    memory_ = Tensor::empty({(bytes + size - 1) / size}, DType::F32, device_, Purpose::Workspace);
  }
  return static_cast<char*>(memory_.raw_data());
}

DeviceLane::DeviceLane(Device device, std::unique_ptr<Transport> transport)
    : transport_(std::move(transport)), scratch_(device) {}

std::shared_ptr<StreamEvent> DeviceLane::queue(int64_t number, std::string name, const Tensor& tensor,
                                               int64_t scratch_bytes,
                                               const std::function<void(Transport&, Scratch&)>& run) {
  const Device device = tensor.device();
  const Stream compute{device}, own = transport_->stream();
  if (!scratch_.has(scratch_bytes)) {
    // The device gives memory back in the order of its compute stream, and this is still read by collectives.
    GTA_DISPATCH(device, record_event, own)->hold(compute);
    scratch_.take(scratch_bytes);
  }
  GTA_DISPATCH(device, record_event, compute)->hold(own);
  std::shared_ptr<StreamEvent> begun = GTA_DISPATCH(device, record_event, own);
  run(*transport_, scratch_);
  std::shared_ptr<StreamEvent> done = GTA_DISPATCH(device, record_event, own);
  const std::lock_guard lock(mutex_);
  forget_ended();
  queued_.push_back({number, std::move(name), tensor, std::move(begun), done});
  return done;
}

void DeviceLane::forget_ended() const {
  while (!queued_.empty() && queued_.front().done->reached()) queued_.pop_front();
}

std::optional<DeviceLane::Inside> DeviceLane::inside() const {
  const std::lock_guard lock(mutex_);
  forget_ended();
  if (queued_.empty() || !queued_.front().begun->reached()) return std::nullopt;
  return Inside{queued_.front().number, queued_.front().name};
}

}  // namespace gta
