// The clock by which durations are measured: no change of the time of day touches it.
#pragma once

#include <chrono>

namespace gta {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace gta
