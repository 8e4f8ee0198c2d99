// Whether products are right in this process, under its number of threads: libraries assume things about threads that
// an environment can break (openmp_runtime.h), and wrong numbers look like a training that does not learn.
#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/backends/cpu/bfloat16_gemm.h"
#include "core/gemm.h"
#include "core/parallel.h"
#include "core/process_memory.h"

namespace gta::cpu {
namespace {

constexpr int64_t kM = 256, kN = 384, kK = 128;  // the largest tile of gemm.cpp

// The elements of operand number `which`: of a few bits, so that bfloat16 holds them exactly, and float32 sums of their
// products.
std::vector<float> elements(int64_t count, int64_t which) {
  std::vector<float> all(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) all[i] = static_cast<float>((i * 37 + which * 11 + i / 7) % 33 - 16) / 8;
  return all;
}

// x (rows, columns), or its transpose, as a tensor.
template <class T>
Tensor stored(const std::vector<float>& x, int64_t rows, int64_t columns, Transpose transpose) {
  const bool straight = transpose == Transpose::No;
  const Tensor tensor = Tensor::empty(straight ? Shape{rows, columns} : Shape{columns, rows}, dtype_of<T>, Device{});
  T* const to = tensor.template data<T>();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[straight ? r * columns + c : c * rows + r] = T(x[r * columns + c]);
  return tensor;
}

struct Known {
  // after = x y + before
  std::vector<float> x = elements(kM * kK, 0), y = elements(kK * kN, 1), before = elements(kM * kN, 2), after = before;

  // Exact in any order: 129 multiples of 1/64, of 4 at most.
  Known() {
    for (int64_t i = 0; i < kM; ++i)
      for (int64_t p = 0; p < kK; ++p)
        for (int64_t j = 0; j < kN; ++j) after[i * kN + j] += x[i * kK + p] * y[p * kN + j];
  }
};

template <class T>
void check(const Known& known, Transpose ta, Transpose tb) {
  const Tensor a = stored<T>(known.x, kM, kK, ta), b = stored<T>(known.y, kK, kN, tb);
  const auto compare = [&](const Tensor& c, const char* how) {
    const float* const got = c.template data<float>();
    const auto [wrong, expected] = std::mismatch(got, got + kM * kN, known.after.begin());
    if (wrong != got + kM * kN)
      fail("products",
           "{} makes wrong {} products {} of {}: element ({}, {}) is {}, expected {}. Unset what the environment says "
           "about threads (OMP_*, KMP_*, DNNL_*), or "
           "use another oneDNN; nothing was started",
           product_library(), name_of(dtype_of<T>), how, threads(), (wrong - got) / kN, (wrong - got) % kN, *wrong,
           *expected);
  };
  const Tensor together = stored<float>(known.before, kM, kN, Transpose::No);
  gemm({.a = a, .transpose_a = ta, .b = b, .transpose_b = tb, .c = together, .mode = GradientMode::Accumulate});
  compare(together, "by all threads");
  const auto alone = [&](int64_t) {
    const Tensor c = stored<float>(known.before, kM, kN, Transpose::No);
    const auto product = [&](auto block_gemm) {
      block_gemm(ta, tb, kM, kN, kK, a.template data<T>(), a.pitch(), b.template data<T>(), b.pitch(),
                 c.template data<float>(), kN, GradientMode::Accumulate);
    };
    if constexpr (std::is_same_v<T, bfloat16>)
      product(bfloat16_block_gemm);
    else
      product(block_gemm<float>);
    compare(c, "by one thread");
  };
  alone(0);
  parallel_for(2 * threads(), alone);
}

}  // namespace

void check_products() {
  // oneDNN crashes where it finds none for its first kernels. The threads, which take some, begin before it is asked.
  parallel_for(2 * threads(), [](int64_t) {});
  require_memory("products", 32 << 20);
  const Known known;
  // As a step makes them: y = x W^T, dx = dy W, dW += dy^T x.
  for (const auto& [a, b] :
       {std::pair{Transpose::No, Transpose::Yes}, {Transpose::No, Transpose::No}, {Transpose::Yes, Transpose::No}}) {
    check<float>(known, a, b);
    check<bfloat16>(known, a, b);
  }
}

}  // namespace gta::cpu
