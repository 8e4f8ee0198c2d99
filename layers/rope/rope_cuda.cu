#include "core/backends/cuda/vectors.h"
#include "layers/rope/rope.h"

namespace gta::cuda {
namespace {

struct Rotate {
  int64_t rows, sequence;
  int heads, plain, half;  // of a head: numbers that are copied, and half of those that are rotated
  float sign;              // -1: back
  bool accumulate;
  Rows<const float> table;  // (positions, 2 half): cos, then sin
  const int32_t* starts;    // or nullptr
  const int32_t* given;     // or nullptr
};

// x, y (rows, heads * (plain + 2 half)); in a head's last 2 half numbers, with j < half and the row's angles,
//   y[j] (+)= x[j] cos - x[j + half] sin        y[j + half] (+)= x[j + half] cos + x[j] sin
// An item is a vector of plain numbers or a pair of vectors to rotate.
template <class T, int n>
__global__ void rotate_heads(Rotate r, Rows<const T> x, Rows<T> y) {
  const int copies = r.plain / n, items = copies + r.half / n;  // of a head
  for_items(r.rows, int64_t{r.heads} * items, [&](int64_t row, int64_t item) {
    const int head = static_cast<int>(item) / items, part = static_cast<int>(item) % items,
              begin = head * (r.plain + 2 * r.half);
    if (part < copies) {
      const int column = begin + part * n;
      if (r.accumulate) {
        float values[n];
        load_vector(values, x.at(row, column));
        write_vector(y.at(row, column), values, true);
      } else {
        copy_vector<n>(y.at(row, column), x.at(row, column));
      }
    } else {
      const int j = (part - copies) * n, low = begin + r.plain + j, high = low + r.half;
      const int64_t position = r.given ? r.given[row] : row % r.sequence - (r.starts ? r.starts[row] : 0);
      float a[n], b[n], cosine[n], sine[n];
      load_vector(a, x.at(row, low));
      load_vector(b, x.at(row, high));
      load_vector(cosine, r.table.at(position, j));
      load_vector(sine, r.table.at(position, r.half + j));
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const float from_low = a[i], from_high = b[i], s = r.sign * sine[i];
        a[i] = from_low * cosine[i] - from_high * s;
        b[i] = from_high * cosine[i] + from_low * s;
      }
      write_vector(y.at(row, low), a, r.accumulate);
      write_vector(y.at(row, high), b, r.accumulate);
    }
  });
}

}  // namespace

void rope_kernel(const RopeHeads& heads, const RopePositions& positions, Rotation rotation, const Tensor& x,
                 const Tensor& y, GradientMode mode) {
  const Tensor& table = positions.table;
  const int64_t half = heads.rope_dim / 2;
  const Rotate rotate{x.rows(),
                      positions.sequence,
                      static_cast<int>(heads.heads),
                      static_cast<int>(heads.plain_dim),
                      static_cast<int>(half),
                      rotation == Rotation::Forward ? 1.0f : -1.0f,
                      mode == GradientMode::Accumulate,
                      rows_of<const float>(table),
                      positions.document_starts.defined() ? positions.document_starts.data<int32_t>() : nullptr,
                      positions.given.defined() ? positions.given.data<int32_t>() : nullptr};
  dispatch_device(x.dtype(), "rope", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({heads.plain_dim, half}, {&x, &y, &table}, [&](auto n) {
      const Threads threads = threads_of(x.rows(), heads.heads * (heads.plain_dim + half) / n);
      GTA_LAUNCH((rotate_heads<T, n>), threads.grid, threads.block, 0, stream_of(x.device()), rotate,
                 rows_of<const T>(x), rows_of<T>(y));
    });
  });
}

}  // namespace gta::cuda
