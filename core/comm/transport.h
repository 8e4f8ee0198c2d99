// Moves bytes between the memories of ranks: of their hosts, or of a device of each. One thread makes all calls, every
// rank the same ones in the same order. Of host memory a call returns when this rank's part in it is done; of a
// device's it is queued on stream(). What goes wrong is an Error(Failed); nothing can be said through this transport
// afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/device.h"

namespace gta {

class Transport {
 public:
  virtual ~Transport() = default;  // waits for nobody

  virtual int64_t rank() const = 0;
  virtual int64_t ranks() const = 0;
  virtual std::string name() const = 0;  // "Open MPI v4.1.4"
  // What calls are queued on; of host memory nothing is.
  virtual Stream stream() const { return {}; }

  // Part r of `send`, of `bytes` each, becomes part `rank()` of rank r's `receive`.
  virtual void all_to_all(const void* send, void* receive, int64_t bytes) = 0;
  // Part r of `data`, of `bytes` each, is rank r's on every rank; each has its own there before.
  virtual void all_gather(void* data, int64_t bytes) = 0;
  virtual void broadcast(void* data, int64_t bytes, int64_t root) = 0;
  // What all ranks do together at the end. Not called when something went wrong: who does not come would be waited for.
  virtual void close() = 0;

  // From any thread. What went wrong in calls that were queued, or "".
  virtual std::string failure() { return ""; }
  // Ends calls that were queued and wait for others, which is the end of this transport.
  virtual void abort() noexcept {}
};

using OpenTransport = std::function<std::unique_ptr<Transport>()>;

}  // namespace gta
