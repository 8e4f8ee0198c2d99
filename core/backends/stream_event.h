// Moments in the queue of a device's stream that other streams, and the host, wait for.
#pragma once

#include <memory>

#include "core/device.h"

namespace gta {

// Reached when everything that was queued before it is done. From any thread.
struct StreamEvent {
  virtual ~StreamEvent() = default;  // whoever was told to wait for it still does
  virtual bool reached() const = 0;
  virtual void wait() const = 0;  // the host
  // What is queued on `later` from now on runs when the event has been reached. The host does not wait.
  virtual void hold(Stream later) const = 0;
};
GTA_KERNEL(std::unique_ptr<StreamEvent> record_event(Stream stream))

}  // namespace gta
