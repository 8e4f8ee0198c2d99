#include "bench/peak.h"

#include "bench/random_tensor.h"
#include "bench/timing.h"
#include "core/gemm.h"

namespace gta {

double measure_peak_flops(DType dtype, Device device) {
  const int64_t n = dtype == DType::F64 ? 256 : 1024;
  const Gemm product{.a = random_tensor("a", {n, n}, dtype, device),
                     .b = random_tensor("b", {n, n}, dtype, device),
                     .c = Tensor::empty({n, n}, dtype, device, Purpose::Workspace)};
  const Timing timing = time_for(0.25, device, [&] { gemm(product); });
  return 2.0 * static_cast<double>(n * n * n) / timing.least;
}

double measure_copy_bandwidth(Device device) {
  const Traffic traffic(device);
  const Timing timing = time_for(0.25, device, [&] { traffic.sweep(); });
  return 2.0 * static_cast<double>(Traffic::kBytes) / timing.least;
}

}  // namespace gta
