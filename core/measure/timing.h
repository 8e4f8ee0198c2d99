// Times of repeated work: what the rows of every benchmark are made of.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace gta {

struct Timing {  // seconds
  double median = 0, least = 0;
  int64_t repeats = 0;
};

Timing timing_of(std::vector<double> seconds);

// Seconds of one call, from when the device has nothing to do until it is done with it.
double time_once(Device device, const std::function<void()>& work);
// Once to warm up, then `repeats` times; `prepare` comes before each call and is not timed.
Timing time_repeated(int64_t repeats, Device device, const std::function<void()>& prepare,
                     const std::function<void()>& work);
// Once to warm up, then for so many seconds, at least once.
Timing time_for(double seconds, Device device, const std::function<void()>& work);

// Memory larger than the caches. A sweep copies one half to the other, so that what is timed next finds its operands in
// memory, as most of a training step's weights and activations are.
class Traffic {
 public:
  static constexpr int64_t kBytes = int64_t{128} << 20;  // of one half

  explicit Traffic(Device device);
  void sweep() const { to_.copy_from(from_); }

 private:
  Tensor from_, to_;
};

}  // namespace gta
