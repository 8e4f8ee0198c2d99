#include "core/backends/cuda/vectors.h"
#include "layers/attention/decoding_cache/decoding_cache.h"

namespace gta::cuda {
namespace {

template <class T, int n>
__global__ void write_rows_kernel(const int32_t* rows, Rows<const T> from, Rows<T> to, int64_t count, int64_t columns) {
  for_items(count, columns / n,
            [&](int64_t row, int64_t item) { copy_vector<n>(to.at(rows[row], item * n), from.at(row, item * n)); });
}

}  // namespace

void write_rows(const Tensor& to, const Tensor& rows, const Tensor& from) {
  if (from.elements() == 0) return;
  dispatch_device(to.dtype(), "write_rows", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({from.columns()}, {&to, &from}, [&](auto n) {
      const Threads threads = threads_of(from.rows(), from.columns() / n);
      GTA_LAUNCH((write_rows_kernel<T, n>), threads.grid, threads.block, 0, stream_of(to.device()),
                 rows.data<int32_t>(), rows_of<const T>(from), rows_of<T>(to), from.rows(), from.columns());
    });
  });
}

}  // namespace gta::cuda
