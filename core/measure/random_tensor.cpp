#include "core/measure/random_tensor.h"

#include "core/parallel.h"
#include "core/random.h"

namespace gta {

Tensor random_tensor(std::string_view name, const Shape& shape, DType dtype, Device device) {
  Tensor tensor = Tensor::empty(shape, dtype, device, Purpose::Workspace);
  const RandomStream random(1, name);
  dispatch_floating(dtype, "random_tensor", [&](auto zero) {
    using T = decltype(zero);
    std::vector<T> values(shape.elements());
    parallel_ranges(shape.elements(), 1 << 14, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) values[i] = static_cast<T>(random.uniform(static_cast<uint64_t>(i)) - 0.5);
    });
    tensor.copy_from(Tensor::from<T>(shape, values, Purpose::Workspace));
  });
  return tensor;
}

Tensor random_tokens(std::string_view name, const Shape& shape, int64_t below) {
  const RandomStream random(1, name);
  std::vector<int32_t> values(shape.elements());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<int32_t>(random.bits(i) % static_cast<uint64_t>(below));
  return Tensor::from<int32_t>(shape, values);
}

}  // namespace gta
