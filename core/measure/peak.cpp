#include "core/measure/peak.h"

#include <algorithm>

#include "core/gemm.h"
#include "core/measure/random_tensor.h"
#include "core/measure/timing.h"

namespace gta {
namespace {

constexpr double kBusySeconds = 1e-3;
constexpr int64_t kLargest = 8192;

}  // namespace

double measure_peak_flops(DType dtype, Device device) {
  double best = 0;
  for (int64_t n = dtype == DType::F64 ? 256 : 1024;; n *= 2) {
    const Gemm product{.a = random_tensor("a", {n, n}, dtype, device),
                       .b = random_tensor("b", {n, n}, dtype, device),
                       .c = Tensor::empty({n, n}, dtype, device, Purpose::Workspace)};
    const Timing timing = time_for(0.25, device, [&] { gemm(product); });
    best = std::max(best, 2.0 * static_cast<double>(n * n * n) / timing.least);
    // A GPU needs a larger one before it is busy all over.
    if (device.type != DeviceType::Cuda || timing.least > kBusySeconds || n == kLargest) return best;
  }
}

double measure_copy_bandwidth(Device device) {
  const Traffic traffic(device);
  const Timing timing = time_for(0.25, device, [&] { traffic.sweep(); });
  return 2.0 * static_cast<double>(Traffic::kBytes) / timing.least;
}

}  // namespace gta
