// What shapes, tensors, dtypes and devices refuse, and what their views look at.
#include "core/tensor.h"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "core/elementwise.h"

namespace gta {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}
void expect_refused(const std::string& part, const std::function<void()>& f) {
  EXPECT_NE(message_of(f).find(part), std::string::npos) << message_of(f) << "\nexpected: " << part;
}

// 0, 1, 2, ... in rows.
Tensor counted(int64_t rows, int64_t columns) {
  std::vector<float> values(rows * columns);
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from<float>({rows, columns}, values);
}

TEST(Shape, HasUpToFourSizesThatAreNotNegative) {
  EXPECT_EQ((Shape{2, 3, 0, 5}).elements(), 0);
  EXPECT_EQ(to_string(Shape{2, 3}), "(2, 3)");
  expect_refused("has 5 dimensions, expected at most 4", [] { Shape{1, 2, 3, 4, 5}; });
  expect_refused("has the negative size -3", [] { Shape{2, -3}; });
}

TEST(Tensor, ViewsShowTheElementsTheyName) {
  const Tensor t = counted(4, 3);
  EXPECT_EQ(t.row_slice(1, 2).to_vector<float>(), (std::vector<float>{3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(t.column_slice(1, 2).to_vector<float>(), (std::vector<float>{1, 2, 4, 5, 7, 8, 10, 11}));
  EXPECT_EQ(t.column_slice(1, 2).row_slice(2, 1).to_vector<float>(), (std::vector<float>{7, 8}));
  EXPECT_EQ(t.reshape({2, 6}).row_slice(1, 1).to_vector<float>(), (std::vector<float>{6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(t.column_slice(1, 2).reshape({2, 2, 2}).to_vector<float>(), (std::vector<float>{1, 2, 4, 5, 7, 8, 10, 11}));
  const Tensor copy = t.column_slice(0, 1).clone();
  t.fill_zero();
  EXPECT_EQ(copy.to_vector<float>(), (std::vector<float>{0, 3, 6, 9}));
  Tensor target = counted(4, 3);
  target.column_slice(1, 1).copy_from(copy);
  EXPECT_EQ(target.to_vector<float>(), (std::vector<float>{0, 0, 2, 3, 3, 5, 6, 6, 8, 9, 9, 11}));
}

TEST(Tensor, RefusesWhatLiesOutsideIt) {
  const Tensor t = counted(4, 3);
  expect_refused("shape (2, 3) has 6 elements, got 5 values", [] {
    Tensor::from<float>({2, 3}, std::vector<float>(5));
  });
  expect_refused("has 4 rows, cannot take [-1, 1)", [&] { t.row_slice(-1, 2); });
  expect_refused("cannot take [1, 0)", [&] { t.row_slice(1, -1); });
  expect_refused("has 4 rows, cannot take [2, 5)", [&] { t.row_slice(2, 3); });
  expect_refused("has 3 columns, cannot take [-1, 1)", [&] { t.column_slice(-1, 2); });
  expect_refused("cannot take [1, 0)", [&] { t.column_slice(1, -1); });
  expect_refused("has 3 columns, cannot take [2, 4)", [&] { t.column_slice(2, 2); });
  EXPECT_EQ(t.row_slice(4, 0).elements(), 0);
  EXPECT_EQ(t.column_slice(3, 0).elements(), 0);
}

TEST(Tensor, RefusesReshapesThatWouldMoveElements) {
  const Tensor t = counted(4, 3);
  expect_refused("cannot reshape (4, 3) to (4, 4)", [&] { t.reshape({4, 4}); });
  expect_refused("cannot reshape (4, 2) with pitch 3 to (2, 4): its rows are not adjacent", [&] {
    t.column_slice(0, 2).reshape({2, 4});
  });
  const Tensor linked = t.with_link({0, 0});
  expect_refused("on the tape: rows would change their length", [&] { linked.reshape({2, 6}); });
  expect_refused("cannot slice rows of (4, 3) on the tape", [&] { linked.row_slice(0, 2); });
  EXPECT_NO_THROW(linked.row_slice(0, 4));
  EXPECT_NO_THROW(linked.reshape({2, 2, 3}));
}

TEST(Tensor, RefusesToBeReadOrCopiedAsWhatItIsNot) {
  const Tensor t = counted(4, 3);
  expect_refused("holds float32, not float64", [&] { t.data<double>(); });
  expect_refused("holds float32, not int32", [&] { t.to_vector<int32_t>(); });
  expect_refused("is undefined: it has no float32 elements", [] { Tensor().data<float>(); });
  expect_refused("cannot copy float32 (3, 3) into float32 (4, 3)", [&] { t.copy_from(counted(3, 3)); });
  expect_refused("cannot copy float32 (4, 2) into float32 (4, 3)", [&] { t.copy_from(counted(4, 2)); });
  expect_refused("cannot copy float64 (4, 3) into float32 (4, 3)", [&] {
    t.copy_from(Tensor::zeros({4, 3}, DType::F64, {}));
  });
  expect_refused("expected float32 (4, 2) and float32 (4, 3) to have one shape",
                 [&] { cpu::add_into(t, counted(4, 2)); });
  expect_refused("expected float32 (3, 3) and float32 (4, 3) to have one shape",
                 [&] { cpu::add_into(t, counted(3, 3)); });
  EXPECT_EQ(describe(Tensor()), "undefined");
}

TEST(DType, NamesAreThoseOfConfigurationsAndNoOthers) {
  for (DType dtype : {DType::F32, DType::F64, DType::BF16, DType::I32, DType::U8, DType::U16, DType::U32, DType::U64})
    EXPECT_EQ(dtype_from_name(name_of(dtype)), dtype);
  for (const char* name : {"float16", "f32", "", "Float32"})
    expect_refused(std::string("got '") + name + "'", [&] { dtype_from_name(name); });
  expect_refused("[swiglu] has no kernel for int32: expected float32, float64 or bfloat16",
                 [] { dispatch_floating(DType::I32, "swiglu", [](auto) {}); });
  expect_refused("[adamw] has no kernel for bfloat16: expected float32 or float64",
                 [] { dispatch_state(DType::BF16, "adamw", [](auto) {}); });
}

TEST(Device, NamesThisBuildLacksAreRefusedWithWhatThereIs) {
  EXPECT_EQ(device_from_name("cpu"), Device{});
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:0x", "cuda1", "cuda:-1"})
    expect_refused(fmt::format("expected cpu, cuda, cuda:N or auto, got '{}'", name), [&] { device_from_name(name); });
#if defined(GTA_CUDA_ON_HOST)
  EXPECT_EQ(device_from_name("auto"), Device{}) << "what only executes kernels on the CPU is nobody's choice";
  expect_refused("cuda:1 is not there: this machine has cuda:0 to cuda:0", [] { device_from_name("cuda:1"); });
#elif defined(GTA_CUDA)
  expect_refused("cuda:99", [] { device_from_name("cuda:99"); });
#else
  EXPECT_EQ(device_from_name("auto"), Device{});
  for (const char* name : {"cuda", "cuda:1"}) expect_refused("use --device cpu", [&] { device_from_name(name); });
  expect_refused("use --device cpu", [] { Tensor::empty({1}, DType::F32, Device{DeviceType::Cuda, 0}); });
#endif
}

}  // namespace
}  // namespace gta
