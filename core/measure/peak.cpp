#include "core/measure/peak.h"

#include <algorithm>

#include "core/backends/cpu/vectors.h"
#include "core/gemm.h"
#include "core/measure/random_tensor.h"
#include "core/measure/timing.h"
#include "core/parallel.h"
#include "core/sum_of_squares.h"

namespace gta {
namespace {

constexpr double kBusySeconds = 1e-3;
constexpr int64_t kLargest = 8192;
constexpr int64_t kPiece = int64_t{1} << 20;  // bytes that a thread of the CPU reads at a time

// All bytes by vectors as wide as the machine's, as many side by side as hide an addition's delay.
void read_by_cpu(const Tensor& tensor) {
  using Sum = cpu::Vector<uint32_t>;
  constexpr int64_t width = sizeof(Sum), step = 4 * width;
  const int64_t bytes = tensor.elements() * static_cast<int64_t>(size_of(tensor.dtype()));
  const char* const data = static_cast<const char*>(tensor.raw_data());
  parallel_ranges(bytes, kPiece, [&](int64_t first, int64_t last) {
    Sum sums[4] = {};
    for (int64_t at = first; at + step <= last; at += step)
      cpu::unrolled<4>([&](auto i) { sums[i] += cpu::load_vector<uint32_t>(data + at + i * width); });
    const Sum all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    asm volatile("" : : "m"(all));  // the compiler has to believe that it is wanted
  });
}

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

void read_all(std::span<const Tensor> tensors) {
  for (const Tensor& tensor : tensors) {
    const Device device = tensor.device();
    if (device.type == DeviceType::Cpu) {
      read_by_cpu(tensor);
    } else {
      const Tensor total = Tensor::empty({1}, DType::F64, device, Purpose::Workspace);
      GTA_DISPATCH(device, sum_of_squares, tensor.reshape({tensor.elements()}), total, GradientMode::Overwrite);
    }
  }
}

double measure_copy_bandwidth(Device device) {
  const Traffic traffic(device);
  const Timing timing = time_for(0.25, device, [&] { traffic.sweep(); });
  return 2.0 * static_cast<double>(Traffic::kBytes) / timing.least;
}

}  // namespace gta
