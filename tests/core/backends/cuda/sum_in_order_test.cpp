// Sums over ranks on a CUDA device have the CPU's bits: the order is the same.
#include "core/sum_in_order.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

TEST(CudaSumInOrder, GivesTheBitsOfTheCpu) {
  GTA_NEEDS_CUDA();
  for (DType dtype : {DType::F32, DType::F64})
    for (int64_t ranks : {1, 2, 3, 8})
      for (int64_t count : {1, 3, 4, 256, 1023, 5000}) {
        SCOPED_TRACE(fmt::format("{} ranks, {} of {}", ranks, count, name_of(dtype)));
        const Tensor parts = from_doubles({ranks * count}, random_values("parts", ranks * count), dtype),
                     expected = Tensor::empty({count}, dtype, {});
        cpu::sum_in_order({}, dtype, parts.raw_data(), ranks, count, expected.raw_data());
        const Device device = *cuda_device();
        const Tensor there = parts.to(device, Purpose::Data), sum = Tensor::empty({count}, dtype, device);
        GTA_DISPATCH(device, sum_in_order, Stream{device}, dtype, there.raw_data(), ranks, count, sum.raw_data());
        EXPECT_TRUE(to_bytes(sum) == to_bytes(expected));
      }
}

}  // namespace
}  // namespace gta::testing
