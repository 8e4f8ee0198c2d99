// Collectives of tensors on a device: queued on the transport's own stream, behind what the device has been given
// before, while its compute stream and the host go on.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/backends/stream_event.h"
#include "core/comm/transport.h"
#include "core/tensor.h"

namespace gta {

// Memory that is kept from one collective to the next.
class Scratch {
 public:
  explicit Scratch(Device device = {}) : device_(device) {}
  Device device() const { return device_; }
  char* take(int64_t bytes);
  bool has(int64_t bytes) const;

 private:
  Device device_;
  Tensor memory_;
};

class DeviceLane {
 public:
  DeviceLane(Device device, std::unique_ptr<Transport> transport);

  Device device() const { return scratch_.device(); }
  const Transport& transport() const { return *transport_; }
  // Queues run(transport, scratch), which needs `scratch_bytes`; number and name are the collective's. The event is
  // reached when it is done; the tensor stays until then.
  std::shared_ptr<StreamEvent> queue(int64_t number, std::string name, const Tensor& tensor, int64_t scratch_bytes,
                                     const std::function<void(Transport&, Scratch&)>& run);

  // From any thread. The first collective that the device has come to and not ended.
  struct Inside {
    int64_t number;
    std::string name;
  };
  std::optional<Inside> inside() const;
  std::string failure() const { return transport_->failure(); }
  void abort() const noexcept { transport_->abort(); }

  void close() { transport_->close(); }

 private:
  struct Queued {
    int64_t number;
    std::string name;
    Tensor tensor;
    std::shared_ptr<StreamEvent> begun, done;
  };
  void forget_ended() const;

  std::unique_ptr<Transport> transport_;
  Scratch scratch_;
  mutable std::mutex mutex_;
  mutable std::deque<Queued> queued_;
};

}  // namespace gta
