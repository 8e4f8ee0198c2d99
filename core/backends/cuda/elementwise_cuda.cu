#include "core/backends/cuda/vectors.h"
#include "core/elementwise.h"

namespace gta::cuda {
namespace {

enum class Written : uint8_t { Element, Sum, Difference };

// to = from, to += from, or to -= from
template <class To, class From, int n>
__global__ void write_elements(Rows<To> to, Rows<const From> from, int64_t rows, int64_t columns, Written written) {
  for_items(rows, columns / n, [&](int64_t row, int64_t item) {
    float values[n];
    load_vector(values, from.at(row, item * n));
    if (written == Written::Difference) {
#pragma unroll
      for (int k = 0; k < n; ++k) values[k] = -values[k];
    }
    write_vector(to.at(row, item * n), values, written != Written::Element);
  });
}

void write_all(const char* name, const Tensor& to, const Tensor& from, Written written) {
  ensure(to.rows() == from.rows() && to.columns() == from.columns(), name, "expected {} and {} to have one shape",
         describe(from), describe(to));
  // Rows that lie side by side are one.
  const bool flat = to.contiguous() && from.contiguous();
  const int64_t rows = flat ? 1 : to.rows(), columns = flat ? to.elements() : to.columns();
  dispatch_device(to.dtype(), name, [&](auto to_zero) {
    dispatch_device(from.dtype(), name, [&](auto from_zero) {
      using To = decltype(to_zero);
      using From = decltype(from_zero);
      with_vectors<std::max(kVector<To>, kVector<From>)>({columns}, {&to, &from}, [&](auto n) {
        const Threads threads = threads_of(rows, columns / n);
        GTA_LAUNCH((write_elements<To, From, n>), threads.grid, threads.block, 0, stream_of(to.device()),
                   rows_of<To>(to), rows_of<const From>(from), rows, columns, written);
      });
    });
  });
}

}  // namespace

void add_into(const Tensor& to, const Tensor& from) { write_all("add_into", to, from, Written::Sum); }

void subtract_from(const Tensor& to, const Tensor& from) { write_all("subtract_from", to, from, Written::Difference); }

void convert(const Tensor& to, const Tensor& from) { write_all("convert", to, from, Written::Element); }

}  // namespace gta::cuda
