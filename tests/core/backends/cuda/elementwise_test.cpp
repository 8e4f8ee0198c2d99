// add_into, subtract_from and convert on a CUDA device give the CPU's bits: all round each element once.
#include "core/elementwise.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

TEST(CudaElementwise, GivesTheBitsOfTheCpu) {
  GTA_NEEDS_CUDA();
  for (DType to : {DType::F32, DType::BF16})
    for (DType from : {DType::F32, DType::BF16})
      for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
               {1, 1}, {1, 4099}, {1, 8192}, {3, 7}, {9, 40}, {70, 264}, {2100, 8}})
        for (bool sliced : {false, true}) {
          SCOPED_TRACE(fmt::format("({}, {}) of {} to {}{}", rows, columns, name_of(from), name_of(to),
                                   sliced ? ", slices" : ""));
          const auto tensor_of = [&](const char* name, DType dtype) {
            return from_doubles({rows, columns + 16}, random_values(name, rows * (columns + 16)), dtype);
          };
          const auto part_of = [&](const Tensor& whole) { return sliced ? whole.column_slice(8, columns) : whole; };
          const auto expect_bits = [&](const char* name, auto&& on_cpu, auto&& on_device) {
            const Tensor expected = tensor_of("to", to), source = tensor_of("from", from);
            const Tensor actual = expected.to(*cuda_device(), Purpose::Data),
                         device_source = source.to(*cuda_device(), Purpose::Data);
            on_cpu(part_of(expected), part_of(source));
            on_device(part_of(actual), part_of(device_source));
            EXPECT_TRUE(to_bytes(actual) == to_bytes(expected)) << name;
          };
          expect_bits("add_into", cpu::add_into,
                      [](const Tensor& to, const Tensor& from) { GTA_DISPATCH(to.device(), add_into, to, from); });
          expect_bits("subtract_from", cpu::subtract_from,
                      [](const Tensor& to, const Tensor& from) { GTA_DISPATCH(to.device(), subtract_from, to, from); });
          expect_bits("convert", cpu::convert,
                      [](const Tensor& to, const Tensor& from) { GTA_DISPATCH(to.device(), convert, to, from); });
        }
}

}  // namespace
}  // namespace gta::testing
