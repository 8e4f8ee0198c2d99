// Ranks that are threads of one process, so that many of them are tested together, under sanitizers, with delays and
// deaths where a test wants them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/comm/transport.h"

namespace gta {

// Where so many ranks meet.
class Meeting {
 public:
  // before_call: called by every rank before each of its calls, with their number from 0.
  explicit Meeting(int64_t ranks, std::function<void(int64_t rank, int64_t call)> before_call = {});

  // For the Communicator of a rank.
  OpenTransport join(int64_t rank) const;
  // A rank that is gone: everyone who waits for it, now or later, gets an Error(Failed) that names it.
  void leave(int64_t rank);

 private:
  friend class ThreadTransport;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gta
