// The decoder beside products of the library: for every type, size and alignment.
#include "layers/attention/value_decoder/value_decoder_cuda.h"

namespace gta::cuda {
namespace {

// An item of both kernels is a vector of a map's latent, which the thread meets again in each of the map's copies. This
// is where copy 0 of it is.
__device__ __forceinline__ int first_copy(int column, int latent, int copies) {
  return column / latent * copies * latent + column % latent;
}

// o = f(z) (copies of u + o), or f(z) times the copies alone
// u (rows, maps * latent), z, o (rows, maps * copies * latent)
template <GateType gate, class T, int n>
__global__ void combine_kernel(bool learned, Rows<const T> u, Rows<const T> z, Rows<T> o, int64_t rows, int width,
                               int latent, int copies) {
  for_items(rows, width / n, [&](int64_t row, int64_t item) {
    const int column = static_cast<int>(item) * n, first = first_copy(column, latent, copies);
    float from[n];
    load_vector(from, u.at(row, column));
#pragma unroll 2
    for (int at = first; at < first + copies * latent; at += latent) {
      float gates[n], y[n] = {};
      load_vector(gates, z.at(row, at));
      if (learned) load_vector(y, o.at(row, at));
#pragma unroll
      for (int i = 0; i < n; ++i) y[i] = gate_of<gate>(gates[i]).value * (from[i] + y[i]);
      store_vector(o.at(row, at), y);
    }
  });
}

template <class T>
struct Split {
  bool learned;
  int64_t rows;
  int width, latent, copies;
  Rows<const T> u, z, d_o;
  Rows<T> y;
  Rows<T> d_z, d_u;  // without data: not wanted
  bool accumulate_z, accumulate_u;
};

// dz (+)= dO (copies of u + y) f'(z)    y = dY = dO f(z)    du (+)= sum over copies of dY
// y holds U P, or counts as 0
template <GateType gate, class T, int n>
__global__ void split_gradients(Split<T> b) {
  for_items(b.rows, b.width / n, [&](int64_t row, int64_t item) {
    const int column = static_cast<int>(item) * n, first = first_copy(column, b.latent, b.copies);
    float from[n], sum[n] = {};
    load_vector(from, b.u.at(row, column));
#pragma unroll 2
    for (int at = first; at < first + b.copies * b.latent; at += b.latent) {
      float z[n], d_o[n], y[n] = {};
      load_vector(z, b.z.at(row, at));
      load_vector(d_o, b.d_o.at(row, at));
      if (b.learned) load_vector(y, b.y.at(row, at));
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const Slope f = gate_of<gate>(z[i]);
        z[i] = d_o[i] * (from[i] + y[i]) * f.slope;
        y[i] = d_o[i] * f.value;
        sum[i] += y[i];
      }
      if (b.d_z.data) write_vector(b.d_z.at(row, at), z, b.accumulate_z);
      store_vector(b.y.at(row, at), y);
    }
    if (b.d_u.data) write_vector(b.d_u.at(row, column), sum, b.accumulate_u);
  });
}

}  // namespace

void value_decoder_combine(GateType gate, LearnedPart learned, const Tensor& u, const Tensor& z, int64_t query_heads,
                           const Tensor& o) {
  const int64_t rows = o.rows(), width = u.columns(), latent = width / query_heads, copies = o.columns() / width;
  dispatch_device(o.dtype(), "value_decoder", [&](auto zero) {
    using T = decltype(zero);
    with_gate(gate, [&](auto f) {
      with_vectors<kVector<T>>({latent}, {&u, &z, &o}, [&](auto n) {
        const Threads threads = threads_of(rows, width / n);
        GTA_LAUNCH((combine_kernel<f, T, n>), threads.grid, threads.block, 0, stream_of(o.device()),
                   learned == LearnedPart::Present, rows_of<const T>(u), rows_of<const T>(z), rows_of<T>(o), rows,
                   static_cast<int>(width), static_cast<int>(latent), static_cast<int>(copies));
      });
    });
  });
}

void value_decoder_split(const ValueDecoderBackward& b) {
  const int64_t rows = b.y.rows(), width = b.u.columns(), latent = width / b.query_heads,
                copies = b.y.columns() / width;
  dispatch_device(b.y.dtype(), "value_decoder", [&](auto zero) {
    using T = decltype(zero);
    with_gate(b.gate, [&](auto f) {
      with_vectors<kVector<T>>({latent}, {&b.u, &b.z, &b.d_o, &b.y, &b.d_z, &b.d_u}, [&](auto n) {
        const Threads threads = threads_of(rows, width / n);
        GTA_LAUNCH((split_gradients<f, T, n>), threads.grid, threads.block, 0, stream_of(b.y.device()),
                   Split<T>{b.learned == LearnedPart::Present, rows, static_cast<int>(width), static_cast<int>(latent),
                            static_cast<int>(copies), rows_of<const T>(b.u), rows_of<const T>(b.z),
                            rows_of<const T>(b.d_o), rows_of<T>(b.y), rows_of<T>(b.d_z), rows_of<T>(b.d_u),
                            b.mode_z == GradientMode::Accumulate, b.mode_u == GradientMode::Accumulate});
      });
    });
  });
}

}  // namespace gta::cuda
