#include "core/parallel.h"
#include "layers/rope/rope.h"

namespace gta::cpu {

void rope_kernel(const RopeArguments& arguments, const Tensor& x, const Tensor& table, const Tensor& y) {
  const auto& [heads, head_dim, sequence, first_position, direction, mode] = arguments;
  dispatch_floating(x.dtype(), "rope", [&, heads = heads, head_dim = head_dim, sequence = sequence, first_position = first_position,
                                        direction = direction, mode = mode](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    const int64_t half = head_dim / 2;
    const C sign = static_cast<T>(direction);
    parallel_ranges(x.rows(), 32, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const C* const cosine = table.template data<C>() + (first_position + t % sequence) * table.pitch();
        const C* const sine = cosine + half;
        for (int64_t h = 0; h < heads; ++h) {
          const T* const a = x.template data<T>() + t * x.pitch() + h * head_dim;
          T* const out = y.template data<T>() + t * y.pitch() + h * head_dim;
          if (mode == GradientMode::Accumulate) {
#pragma omp simd
            for (int64_t j = 0; j < half; ++j) {
              const C low = a[j] * cosine[j] - a[j + half] * sign * sine[j], high = a[j + half] * cosine[j] + a[j] * sign * sine[j];
              out[j] = static_cast<T>(out[j] + low);
              out[j + half] = static_cast<T>(out[j + half] + high);
            }
          } else {
#pragma omp simd
            for (int64_t j = 0; j < half; ++j) {
              const C low = a[j] * cosine[j] - a[j + half] * sign * sine[j], high = a[j + half] * cosine[j] + a[j] * sign * sine[j];
              out[j] = static_cast<T>(low);
              out[j + half] = static_cast<T>(high);
            }
          }
        }
      }
    });
  });
}

}  // namespace gta::cpu
