#include "core/elementwise.h"

#include "core/parallel.h"

namespace gta::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements

// f(to, from, columns) for every pair of rows.
template <class F>
void for_rows(const char* name, const Tensor& to, const Tensor& from, F&& f) {
  ensure(to.rows() == from.rows() && to.columns() == from.columns(), name, "expected {} and {} to have one shape",
         describe(from), describe(to));
  // Rows that lie side by side are one.
  const bool flat = to.contiguous() && from.contiguous();
  const int64_t rows = flat ? 1 : to.rows(), columns = flat ? to.elements() : to.columns();
  const int64_t width = std::min(std::max<int64_t>(columns, 1), kGrain), pieces = (columns + width - 1) / width;
  dispatch_floating(to.dtype(), name, [&](auto to_zero) {
    dispatch_floating(from.dtype(), name, [&](auto from_zero) {
      auto* const t = to.template data<decltype(to_zero)>();
      const auto* const s = from.template data<decltype(from_zero)>();
      parallel_ranges(rows * pieces, std::max<int64_t>(1, kGrain / width), [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t row = i / pieces, column = i % pieces * width;
          f(t + row * to.pitch() + column, s + row * from.pitch() + column, std::min(width, columns - column));
        }
      });
    });
  });
}

}  // namespace

void add_into(const Tensor& to, const Tensor& from) {
  for_rows("add_into", to, from, []<class To, class From>(To* t, const From* f, int64_t columns) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) store(t[c], t[c] + f[c]);
  });
}

void subtract_from(const Tensor& to, const Tensor& from) {
  for_rows("subtract_from", to, from, []<class To, class From>(To* t, const From* f, int64_t columns) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) store(t[c], t[c] - f[c]);
  });
}

void convert(const Tensor& to, const Tensor& from) {
  for_rows("convert", to, from, []<class To, class From>(To* t, const From* f, int64_t columns) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) store(t[c], f[c]);
  });
}

}  // namespace gta::cpu
