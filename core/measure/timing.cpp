#include "core/measure/timing.h"

#include <algorithm>
#include <chrono>

#include "core/backends/memory_kernels.h"
#include "core/backends/stream_mark.h"
#include "core/clock.h"
#include "core/measure/random_tensor.h"

namespace gta {
namespace {}  // namespace

Timing timing_of(std::vector<double> seconds) {
  if (seconds.empty()) internal_error("timing", "of no repeats");
  std::sort(seconds.begin(), seconds.end());
  const size_t half = seconds.size() / 2;
  const double median = seconds.size() % 2 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2;
  return {median, seconds.front(), static_cast<int64_t>(seconds.size())};
}

double time_once(Device device, const std::function<void()>& work) {
  GTA_DISPATCH(device, synchronize, Stream{device});
  const auto start = Clock::now();
  work();
  GTA_DISPATCH(device, synchronize, Stream{device});
  return seconds_since(start);
}

Timing time_repeated(int64_t repeats, Device device, const std::function<void()>& prepare,
                     const std::function<void()>& work) {
  prepare();
  work();
  std::vector<double> seconds;
  // Between marks on the stream: a GPU is still preparing while the host queues the work, so that what is timed is the
  // work alone.
  for (int64_t i = 0; i < repeats; ++i) {
    GTA_DISPATCH(device, synchronize, Stream{device});
    prepare();
    const auto begin = GTA_DISPATCH(device, mark_stream, Stream{device});
    work();
    const auto end = GTA_DISPATCH(device, mark_stream, Stream{device});
    seconds.push_back(1e-9 * static_cast<double>(end->nanoseconds_since(*begin)));
  }
  return timing_of(std::move(seconds));
}

Timing time_for(double seconds, Device device, const std::function<void()>& work) {
  work();
  std::vector<double> taken;
  const auto begin = Clock::now();
  do taken.push_back(time_once(device, work));
  while (seconds_since(begin) < seconds);
  return timing_of(std::move(taken));
}

Traffic::Traffic(Device device) {
  const int64_t row = int64_t{1} << 18, rows = kBytes / 4 / row;
  from_ = Tensor::empty({rows, row}, DType::F32, device, Purpose::Workspace);
  to_ = Tensor::empty({rows, row}, DType::F32, device, Purpose::Workspace);
  const Tensor first = random_tensor("traffic", {1, row}, DType::F32, device);
  for (int64_t i = 0; i < rows; ++i) from_.row_slice(i, 1).copy_from(first);
}

}  // namespace gta
