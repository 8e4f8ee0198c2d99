// The ranks that train together, as one of them sees them.
#pragma once

#include "core/comm/communicator.h"
#include "core/comm/watchdog.h"

namespace gta {

struct Ranks {
  Communicator& communicator;
  Watchdog& watchdog;  // ends all of them where one cannot go on

  bool alone() const { return communicator.ranks() == 1; }
  bool leads() const { return communicator.leads(); }  // writes the run's folder
};

// The only one of a training.
class OneRank {
 public:
  Ranks ranks() { return {communicator_, watchdog_}; }

 private:
  Communicator communicator_;
  Watchdog watchdog_{communicator_, {}};
};

}  // namespace gta
