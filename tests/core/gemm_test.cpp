#include "core/gemm.h"

#include "core/backends/cpu/bfloat16_gemm.h"
#include "core/backends/cpu/few_rows_gemm.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

struct Sizes {
  int64_t m, n, k;
};
// Tails of vectors and of tiles, and one product of several tiles.
const Sizes kSizes[] = {{1, 1, 1},   {1, 7, 3},    {3, 1, 17},     {7, 17, 1},   {17, 33, 65},
                        {65, 3, 33}, {1, 130, 70}, {260, 390, 20}, {33, 65, 700}};

TEST(Gemm, IsTheNaiveLoopForEveryTransposePitchAndMode) {
  for (const auto& [m, n, k] : kSizes)
    for (DType dtype : {DType::F64, DType::F32})
      for (Transpose ta : {Transpose::No, Transpose::Yes})
        for (Transpose tb : {Transpose::No, Transpose::Yes})
          for (GradientMode mode : {GradientMode::Overwrite, GradientMode::Accumulate, GradientMode::Ignore}) {
            const std::vector<double> a = random_values("a", m * k), b = random_values("b", k * n),
                                      before = random_values("c", m * n);
            const auto shape = [](Transpose t, int64_t r, int64_t c) {
              return t == Transpose::No ? Shape{r, c} : Shape{c, r};
            };
            Guarded ga(shape(ta, m, k), dtype), gb(shape(tb, k, n), dtype), gc({m, n}, dtype);
            ga.set(a);
            gb.set(b);
            if (mode == GradientMode::Accumulate) gc.set(before);
            gemm({.a = ga.tensor(),
                  .transpose_a = ta,
                  .b = gb.tensor(),
                  .transpose_b = tb,
                  .c = gc.tensor(),
                  .mode = mode});
            EXPECT_TRUE(ga.untouched() && gb.untouched() && gc.surroundings_untouched()) << m << " " << n << " " << k;
            if (mode == GradientMode::Ignore) {
              EXPECT_TRUE(gc.untouched());
              continue;
            }
            std::vector<double> expected(m * n);
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double& sum = expected[i * n + j];
                if (mode == GradientMode::Accumulate) sum = before[i * n + j];
                for (int64_t p = 0; p < k; ++p)
                  sum += (ta == Transpose::No ? a[i * k + p] : a[p * m + i]) *
                         (tb == Transpose::No ? b[p * n + j] : b[j * k + p]);
              }
            // Float32: the square root of k roundings of 6e-8, with room.
            EXPECT_TRUE(near(to_doubles(gc.tensor()), expected, dtype == DType::F64 ? 1e-13 : 3e-6))
                << m << " " << n << " " << k;
          }
}

// bfloat16 by instructions and by conversion: float32 sums of the operands as bfloat16 holds them, rounded once, bias
// and old C added before.
TEST(Gemm, Bfloat16RoundsOnceWithAndWithoutInstructions) {
  for (const bool instructions : {true, false}) {
    cpu::use_bfloat16_instructions(instructions);
    for (const auto& [m, n, k] : kSizes)
      for (DType to : {DType::BF16, DType::F32})
        for (Transpose ta : {Transpose::No, Transpose::Yes})
          for (Transpose tb : {Transpose::No, Transpose::Yes})
            for (GradientMode mode : {GradientMode::Overwrite, GradientMode::Accumulate})
              for (bool with_bias : {false, true}) {
                const auto shape = [](Transpose t, int64_t r, int64_t c) {
                  return t == Transpose::No ? Shape{r, c} : Shape{c, r};
                };
                Guarded ga(shape(ta, m, k), DType::BF16), gb(shape(tb, k, n), DType::BF16), gc({m, n}, to),
                    bias({n}, DType::F32);
                ga.set(random_values("a", m * k));
                gb.set(random_values("b", k * n));
                bias.set(random_values("bias", n));
                if (mode == GradientMode::Accumulate) gc.set(random_values("c", m * n));
                const std::vector<double> a = to_doubles(ga.tensor()), b = to_doubles(gb.tensor()),
                                          c = to_doubles(gc.tensor()), d = to_doubles(bias.tensor());
                std::vector<double> expected(m * n);
                for (int64_t i = 0; i < m; ++i)
                  for (int64_t j = 0; j < n; ++j) {
                    double& sum = expected[i * n + j];
                    sum = (mode == GradientMode::Accumulate ? c[i * n + j] : 0) + (with_bias ? d[j] : 0);
                    for (int64_t p = 0; p < k; ++p)
                      sum += (ta == Transpose::No ? a[i * k + p] : a[p * m + i]) *
                             (tb == Transpose::No ? b[p * n + j] : b[j * k + p]);
                  }
                gemm({.a = ga.tensor(),
                      .transpose_a = ta,
                      .b = gb.tensor(),
                      .transpose_b = tb,
                      .c = gc.tensor(),
                      .mode = mode,
                      .bias = with_bias ? bias.tensor().reshape({n}) : Tensor{}});
                EXPECT_TRUE(ga.untouched() && gb.untouched() && bias.untouched() && gc.surroundings_untouched());
                // One rounding to bfloat16, at most 2^-8, or those of the float32 sums.
                EXPECT_TRUE(near(to_doubles(gc.tensor()), expected, to == DType::BF16 ? 0.00391 : 3e-6))
                    << m << " " << n << " " << k;
              }
  }
  cpu::use_bfloat16_instructions(true);
}

TEST(Bfloat16, RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(bfloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bfloat16(1.00390625f).bits, 0x3f80);  // half way: to the even one below
  EXPECT_EQ(bfloat16(1.01171875f).bits, 0x3f82);  // half way: to the even one above
  EXPECT_EQ(bfloat16(1.00390637f).bits, 0x3f81);
  EXPECT_EQ(bfloat16(3.4e38f).bits, 0x7f80);  // beyond the largest: infinity
  EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(std::bit_cast<float>(0xffffffffu)))));
  EXPECT_EQ(static_cast<float>(bfloat16(-0.0f)), 0.0f);
  EXPECT_TRUE(std::signbit(static_cast<float>(bfloat16(-0.0f))));
}

TEST(Gemm, SameBitsForAnyNumberOfThreads) {
  const ThreadCount restore;
  for (const auto& [m, n, k] : {Sizes{1, 1, 5000}, {7, 9, 3000}, {64, 64, 2000}, {300, 400, 333}, {1, 700, 900}}) {
    const Tensor a = from_doubles({m, k}, random_values("a", m * k), DType::F32),
                 b = from_doubles({n, k}, random_values("b", n * k), DType::F32);
    std::vector<char> first;
    for (int count : {1, 2, 3, 4}) {
      set_threads(count);
      const Tensor c = Tensor::empty({m, n}, DType::F32, Device{});
      gemm({.a = a, .b = b, .transpose_b = Transpose::Yes, .c = c});
      if (first.empty()) first = to_bytes(c);
      EXPECT_TRUE(to_bytes(c) == first) << m << " " << n << " " << k << ", " << count << " threads";
    }
  }
}

// What a batch of sequences that are decoded together rests on.
TEST(Gemm, ARowAmongFewHasTheSameBitsWhateverTheOthersAre) {
  constexpr int64_t rows = cpu::kFewRows, n = 150, k = 333;
  for (DType dtype : {DType::F32, DType::BF16})
    for (Transpose tb : {Transpose::Yes, Transpose::No}) {
      const Tensor a = from_doubles({rows, k}, random_values("a", rows * k), dtype),
                   b = from_doubles(tb == Transpose::Yes ? Shape{n, k} : Shape{k, n}, random_values("b", n * k), dtype),
                   bias = from_doubles({n}, random_values("bias", n), DType::F32);
      const auto product = [&](int64_t first, int64_t count) {
        const Tensor c = Tensor::empty({count, n}, dtype, Device{});
        gemm({.a = a.row_slice(first, count), .b = b, .transpose_b = tb, .c = c, .bias = bias});
        return to_doubles(c);
      };
      const std::vector<double> together = product(0, rows);
      for (int64_t row = 0; row < rows; ++row)
        EXPECT_EQ(product(row, 1), std::vector<double>(together.begin() + row * n, together.begin() + (row + 1) * n))
            << "row " << row << " " << name_of(dtype);
    }
}

TEST(Gemm, RefusesShapesAndDtypesThatDoNotFit) {
  const auto zeros = [](int64_t rows, int64_t columns, DType dtype = DType::F32) {
    return Tensor::zeros({rows, columns}, dtype, {});
  };
  const auto refusal = [](const Tensor& a, const Tensor& b, const Tensor& c) -> std::string {
    try {
      gemm({.a = a, .b = b, .c = c});
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was refused";
  };
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5), zeros(2, 5)), "nothing was refused");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(4, 5), zeros(2, 5)), "[gemm] (2, 3) times (4, 5) does not give float32 (2, 5)");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 4), zeros(2, 5)), "[gemm] (2, 3) times (3, 4) does not give float32 (2, 5)");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5), zeros(3, 5)), "[gemm] (2, 3) times (3, 5) does not give float32 (3, 5)");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5, DType::F64), zeros(2, 5)),
            "[gemm] expected one dtype (or bfloat16 to float32), got float32 times float64 to float32");
  EXPECT_EQ(refusal(zeros(2, 3), zeros(3, 5), zeros(2, 5, DType::F64)),
            "[gemm] expected one dtype (or bfloat16 to float32), got float32 times float32 to float64");
}

}  // namespace
}  // namespace gta::testing
