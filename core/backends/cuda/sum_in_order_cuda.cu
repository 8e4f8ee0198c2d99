// Reads each part once and writes the sum once: memory-bound. Double for what is small.
#include "core/backends/cuda/vectors.h"
#include "core/sum_in_order.h"

namespace gta::cuda {
namespace {

template <int n>
__global__ void sum_floats(const float* parts, int64_t ranks, int64_t count, float* sum) {
  for_items(1, count / n, [&](int64_t, int64_t item) {
    float total[n], values[n];
    load_vector(total, parts + item * n);
    for (int64_t r = 1; r < ranks; ++r) {
      load_vector(values, parts + r * count + item * n);
#pragma unroll
      for (int i = 0; i < n; ++i) total[i] += values[i];
    }
    store_vector(sum + item * n, total);
  });
}

__global__ void sum_doubles(const double* parts, int64_t ranks, int64_t count, double* sum) {
  for_items(1, count, [&](int64_t, int64_t item) {
    double total = parts[item];
    for (int64_t r = 1; r < ranks; ++r) total += parts[r * count + item];
    sum[item] = total;
  });
}

}  // namespace

void sum_in_order(Stream stream, DType dtype, const void* parts, int64_t ranks, int64_t count, void* sum) {
  if (count == 0) return;
  const auto run = [&](auto kernel, auto zero, int64_t items) {
    using T = decltype(zero);
    const Threads threads = threads_of(1, items);
    GTA_LAUNCH(kernel, threads.grid, threads.block, 0, stream_of(stream), static_cast<const T*>(parts), ranks, count,
               static_cast<T*>(sum));
  };
  dispatch_state(dtype, "sum_in_order", [&](auto zero) {
    constexpr int n = 4;
    const bool whole =
        count % n == 0 && reinterpret_cast<uintptr_t>(parts) % 16 == 0 && reinterpret_cast<uintptr_t>(sum) % 16 == 0;
    if constexpr (std::is_same_v<decltype(zero), double>)
      run(sum_doubles, zero, count);
    else if (whole)
      run(sum_floats<n>, zero, count / n);
    else
      run(sum_floats<1>, zero, count);
  });
}

}  // namespace gta::cuda
