#include "launch/peak.h"

#include <algorithm>
#include <chrono>

#include "core/gemm.h"
#include "core/random.h"

namespace gta {

double measure_peak_flops(DType dtype, Device device) {
  const int64_t m = dtype == DType::F64 ? 256 : 1024, n = m, k = m;
  const RandomStream random(1, "peak");
  const auto matrix = [&] {
    std::vector<double> values(m * n);
    for (int64_t i = 0; i < m * n; ++i) values[i] = random.uniform(i) - 0.5;
    const Tensor host = from_doubles({m, n}, values, dtype, Purpose::Workspace);
    Tensor tensor = Tensor::empty({m, n}, dtype, device, Purpose::Workspace);
    tensor.copy_from(host);
    return tensor;
  };
  const Gemm product{.a = matrix(), .b = matrix(), .c = Tensor::empty({m, n}, dtype, device, Purpose::Workspace)};
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  gemm(product);
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    gemm(product);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  } while (std::chrono::duration<double>(Clock::now() - begin).count() < 0.25);
  return 2.0 * static_cast<double>(m * n) * static_cast<double>(k) / best;
}

}  // namespace gta
