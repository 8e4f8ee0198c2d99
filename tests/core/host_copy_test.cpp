// Copies between the host and a device, and what they do not wait for.
#include "core/host_copy.h"

#include <numeric>

#include "tests/cuda_device.h"

namespace gta {
namespace {

Tensor counted(const Shape& shape, float first = 0) {
  std::vector<float> values(shape.elements());
  std::iota(values.begin(), values.end(), first);
  return Tensor::from<float>(shape, values);
}

TEST(HostCopy, HasTheElementsInRowOrder) {
  const Tensor t = counted({4, 3});
  EXPECT_EQ(HostCopy(t).values<float>(), t.to_vector<float>());
  EXPECT_EQ(HostCopy(t.column_slice(1, 2)).values<float>(), (std::vector<float>{1, 2, 4, 5, 7, 8, 10, 11}));
  EXPECT_EQ(HostCopy(Tensor::zeros({2}, DType::F64, {DeviceType::Meta})).values<double>(), (std::vector<double>{0, 0}));
  EXPECT_THROW(HostCopy(t).values<double>(), Error);
}

TEST(HostCopy, CudaCopiesAreOfTheMomentTheyBegan) {
  GTA_NEEDS_CUDA();
  const Tensor t = counted({5, 3}).to(*cuda_device(), Purpose::Data);
  const HostCopy whole(t), part(t.column_slice(1, 2));
  t.fill_zero();
  const HostCopy after(t);
  t.copy_from(counted({5, 3}, 100));
  EXPECT_EQ(after.values<float>(), std::vector<float>(15));
  EXPECT_EQ(whole.values<float>(), counted({5, 3}).to_vector<float>());
  EXPECT_EQ(part.values<float>(), counted({5, 3}).column_slice(1, 2).to_vector<float>());
}

// More than a piece of pinned memory: adjacent rows, rows apart, rows that are larger than a piece.
TEST(HostCopy, CudaCopiesLargeTensorsEitherWay) {
  GTA_NEEDS_CUDA();
  for (const Shape& shape : {Shape{1, 2'500'001}, Shape{2'100, 1'031}, Shape{3, 1'200'007}}) {
    SCOPED_TRACE(to_string(shape));
    const Tensor t = counted(shape), on_device = Tensor::zeros(shape, DType::F32, *cuda_device(), Purpose::Data);
    on_device.copy_from(t);
    EXPECT_TRUE(on_device.to_vector<float>() == t.to_vector<float>());
    const int64_t count = shape[1] - 5;
    EXPECT_TRUE(on_device.column_slice(2, count).to_vector<float>() == t.column_slice(2, count).to_vector<float>());
    on_device.fill_zero();
    on_device.column_slice(2, count).copy_from(t.column_slice(3, count));
    Tensor expected = Tensor::zeros(shape, DType::F32, {}, Purpose::Data);
    expected.column_slice(2, count).copy_from(t.column_slice(3, count));
    EXPECT_TRUE(on_device.to_vector<float>() == expected.to_vector<float>());
    Tensor back = Tensor::zeros(shape, DType::F32, {}, Purpose::Data);
    back.copy_from(on_device);
    EXPECT_TRUE(back.to_vector<float>() == expected.to_vector<float>());
    if (shape[0] > 1) {
      EXPECT_THROW(back.column_slice(0, 2).copy_from(on_device.column_slice(0, 2)), Error)
          << "rows of the host that are apart";
    }
  }
}

// More is sent than pinned memory holds, from memory that changes as soon as the call returns.
TEST(HostCopy, CudaTakesWhatTheHostHadWhenItWasAsked) {
  GTA_NEEDS_CUDA();
  constexpr int64_t kCount = 40, kElements = 1'000'000;
  std::vector<Tensor> sent;
  Tensor source = Tensor::zeros({kElements}, DType::F32, {}, Purpose::Data);
  for (int i = 0; i < kCount; ++i) {
    std::fill_n(source.data<float>(), kElements, static_cast<float>(i));
    sent.push_back(source.to(*cuda_device(), Purpose::Data));
  }
  source.fill_zero();
  for (int i = 0; i < kCount; ++i) {
    const std::vector<float> values = sent[i].to_vector<float>();
    EXPECT_EQ(values.front(), static_cast<float>(i));
    EXPECT_EQ(values.back(), static_cast<float>(i));
  }
}

}  // namespace
}  // namespace gta
