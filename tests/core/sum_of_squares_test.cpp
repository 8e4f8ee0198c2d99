#include "core/sum_of_squares.h"

#include <cmath>

#include "tests/op_case.h"

namespace gta::testing {
namespace {

double sum_on(const Tensor& x, double before, GradientMode mode) {
  const Tensor total = Tensor::from<double>({1}, {before}).to(x.device(), Purpose::Data);
  GTA_DISPATCH(x.device(), sum_of_squares, x, total, mode);
  return total.to_vector<double>()[0];
}

void expect_sums(const Device& device, const std::vector<DType>& dtypes) {
  for (const DType dtype : dtypes)
    for (const int64_t count : {0, 1, 7, 4096, 65'536, 65'537, 200'003}) {
      SCOPED_TRACE(fmt::format("{} of {}", count, name_of(dtype)));
      const Tensor there = from_doubles({count}, random_values("x", count), dtype), x = there.to(device, Purpose::Data);
      double expected = 0;
      for (const double value : to_doubles(there)) expected += value * value;
      EXPECT_NEAR(sum_on(x, 5, GradientMode::Overwrite), expected, 1e-12 * expected);
      EXPECT_NEAR(sum_on(x, 5, GradientMode::Accumulate), 5 + expected, 1e-12 * (5 + expected));
      EXPECT_EQ(sum_on(x, 5, GradientMode::Overwrite), sum_on(x, 7, GradientMode::Overwrite));
    }
  const Tensor wide = from_doubles({4, 8}, random_values("x", 32), DType::F32).to(device, Purpose::Data);
  EXPECT_THROW(sum_on(wide.column_slice(0, 4), 0, GradientMode::Overwrite), Error) << "rows that are apart";
  EXPECT_TRUE(std::isnan(
      sum_on(from_doubles({2}, {1, NAN}, DType::F32).to(device, Purpose::Data), 0, GradientMode::Overwrite)));
}

TEST(SumOfSquares, IsThatOfTheElements) { expect_sums({}, {DType::F32, DType::F64, DType::BF16}); }

TEST(SumOfSquares, CudaIsThatOfTheElements) {
  GTA_NEEDS_CUDA();
  expect_sums(*cuda_device(), {DType::F32, DType::BF16});
}

}  // namespace
}  // namespace gta::testing
