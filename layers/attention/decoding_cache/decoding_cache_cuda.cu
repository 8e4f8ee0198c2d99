#include "core/backends/cuda/vectors.h"
#include "layers/attention/decoding_cache/decoding_cache.h"

namespace gta::cuda {
namespace {

template <class To, class From, int n>
__global__ void write_rows_kernel(const int32_t* rows, Rows<const From> from, Rows<To> to, int64_t count,
                                  int64_t columns) {
  for_items(count, columns / n, [&](int64_t row, int64_t item) {
    if constexpr (std::is_same_v<To, From>) {
      copy_vector<n>(to.at(rows[row], item * n), from.at(row, item * n));
    } else {
      float values[n];
      load_vector(values, from.at(row, item * n));
      store_vector(to.at(rows[row], item * n), values);
    }
  });
}

}  // namespace

void write_rows(const Tensor& to, const Tensor& rows, const Tensor& from) {
  if (from.elements() == 0) return;
  dispatch_device(to.dtype(), "write_rows", [&](auto to_zero) {
    dispatch_device(from.dtype(), "write_rows", [&](auto from_zero) {
      using To = decltype(to_zero);
      using From = decltype(from_zero);
      with_vectors<std::max(kVector<To>, kVector<From>)>({from.columns()}, {&to, &from}, [&](auto n) {
        const Threads threads = threads_of(from.rows(), from.columns() / n);
        GTA_LAUNCH((write_rows_kernel<To, From, n>), threads.grid, threads.block, 0, stream_of(to.device()),
                   rows.data<int32_t>(), rows_of<const From>(from), rows_of<To>(to), from.rows(), from.columns());
      });
    });
  });
}

}  // namespace gta::cuda
