// Which ranks take much longer than the others to compute their share of a step, waiting for others left out.
//
// Of each rank's last 20 steps the median counts, so that one long step (a file read, a page out of memory) names
// nobody; and a rank is slow beyond 1.5 times the median of the ranks. Of an even number of ranks that is the lower of
// the two in the middle: of two ranks the faster one, which the slow one holds up, and not their mean, by which a rank
// would have to take three times as long as the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gta {

class SlowRanks {
 public:
  explicit SlowRanks(std::vector<std::string> hosts) : hosts_(std::move(hosts)) {}

  // A step: the seconds of each rank; now: of any clock. A sentence about the slow ones, the slowest first, once a
  // minute at most; "" where there is nothing to say.
  std::string add(const std::vector<double>& computed_seconds, double now);

 private:
  std::vector<std::string> hosts_;               // by rank
  std::vector<std::vector<double>> last_steps_;  // by rank, overwritten in turn
  int64_t steps_ = 0;
  double said_ = 0;
  bool has_said_ = false;
};

}  // namespace gta
