#include "core/int8_matrix.h"

#include "core/gemm.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

// The matrix that the bytes stand for, in double.
std::vector<double> meant(const Int8Matrix& w) {
  std::vector<double> values;
  for (int64_t r = 0; r < w.rows(); ++r)
    for (int64_t c = 0; c < w.columns(); ++c) values.push_back(static_cast<double>(w.scale(r)) * w.row(r)[c]);
  return values;
}

TEST(Int8Matrix, EachRowIsRoundedToItsOwnLargestNumber) {
  const Tensor matrix =
      Tensor::from<float>({3, 4}, {127, -63.4F, 0.6F, 0, 0, 0, 0, 0, -0.001F, 0.0005F, 0.0002F, 0.001F});
  const Int8Matrix w(matrix);
  EXPECT_EQ(w.scale(0), 1.0F);
  EXPECT_EQ(std::vector<int8_t>(w.row(0), w.row(0) + 4), (std::vector<int8_t>{127, -63, 1, 0}));
  EXPECT_EQ(std::vector<int8_t>(w.row(1), w.row(1) + 4), (std::vector<int8_t>{0, 0, 0, 0}));
  EXPECT_EQ(w.row(2)[0], -127);
  EXPECT_EQ(w.row(2)[3], 127);
  EXPECT_EQ(w.bytes(), 12 + 12);
}

TEST(Int8Matrix, AProductIsThatOfTheMatrixThatTheBytesStandFor) {
  constexpr int64_t n = 131, k = 77;
  for (DType dtype : {DType::F32, DType::BF16})
    for (int64_t m : {1, 3, 8, 9, 70}) {
      const Tensor matrix = from_doubles({n, k}, random_values("w", n * k), dtype),
                   x = from_doubles({m, k}, random_values("x", m * k), dtype),
                   bias = from_doubles({n}, random_values("bias", n), DType::F32);
      const Int8Matrix w(matrix);
      const std::vector<double> a = to_doubles(x), b = meant(w), added = to_doubles(bias);
      EXPECT_TRUE(near(b, to_doubles(matrix), 1.0 / 200)) << "half a step of 127 of the largest";
      Guarded y({m, n}, dtype);
      multiply(x, w, bias, y.tensor());
      EXPECT_TRUE(y.surroundings_untouched());
      std::vector<double> expected;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = added[static_cast<size_t>(j)];
          for (int64_t p = 0; p < k; ++p) sum += a[static_cast<size_t>(i * k + p)] * b[static_cast<size_t>(j * k + p)];
          expected.push_back(sum);
        }
      EXPECT_TRUE(near(to_doubles(y.tensor()), expected, dtype == DType::F32 ? 3e-6 : 0.00391)) << m << " rows";
    }
}

}  // namespace
}  // namespace gta::testing
