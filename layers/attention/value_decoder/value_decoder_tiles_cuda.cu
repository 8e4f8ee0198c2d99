// The decoder in one pass over its tensors, in bfloat16:
//
//   forward    O = f(Z) (copies of U + U P)
//   backward   Y = copies of U + U P     dZ = dO Y f'(Z)     dY = dO f(Z)     dU = sum over copies of dY + dY P^T
//              dP = U^T dY, by parts of the tokens, which a last pass adds in their order
//
// A block owns a tile of tokens of one map and walks the columns of P in chunks. A product leaves its fragments through
// shared memory, so that everything that is read or written in device memory moves 16 bytes at a time, and once.
#include "core/backends/cuda/tiles.h"
#include "layers/attention/value_decoder/value_decoder_cuda.h"

namespace gta::cuda {
namespace {

constexpr int kColumns = 64;  // of a chunk of P
// What a warp does with a chunk of its 16 tokens: a lane has the same 8 columns of every fourth token.
constexpr int kSteps = 4, kTokensOfStep = 16 / kSteps;
static_assert(kColumns / 8 * kTokensOfStep == 32);

// Warps of 16 tokens each; `blocks` of them on a multiprocessor.
template <int latent_, int warps, int blocks_>
struct Tiles {
  static constexpr int latent = latent_, threads = 32 * warps, rows = 16 * warps, blocks = blocks_;
  static constexpr int u_size = rows * kPitch<latent>, p_size = latent * kPitch<kColumns>,
                       y_size = rows * kPitch<kColumns>;
  static constexpr size_t shared = (u_size + 2 * p_size + y_size) * sizeof(bf16);
  static_assert(latent % kColumns == 0 && shared <= kMostShared);
};

struct Problem {
  int64_t rows;
  int maps, width;  // columns of one map's heads: copies * latent
  Rows<const bf16> u, z, p, d_o;
  Rows<bf16> o, y, d_z, d_u;  // d_z, d_u without data: not wanted
  bool accumulate_z, accumulate_u;
};

using Raw = Words<4>;  // eight bfloat16 on their way
__device__ __forceinline__ Raw load_raw(const bf16* from) { return *reinterpret_cast<const Raw*>(from); }
__device__ __forceinline__ void unpack(float (&to)[8], const Raw& raw) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = __builtin_bit_cast(float, raw.word[i] << 16);
    to[2 * i + 1] = __builtin_bit_cast(float, raw.word[i] & 0xffff0000u);
  }
}

// What a block sees of a tensor. Offsets within it are short: 64-bit ones, kept for every row, would cost more
// registers than there are.
template <class T>
struct Part {
  T* data;  // its first token, the first column of its map
  int pitch;
  __device__ __forceinline__ T* at(int token, int column) const { return data + token * pitch + column; }
};

// What the blocks of both kernels begin with: which tokens of which map, and the copies that are under way.
template <class C>
struct Block {
  bf16 *u_tile, *p_tiles, *y_tile;  // the last two: of the block, and of this warp
  int map, count;                   // tokens of the tile
  int64_t first;                    // the first of them

  __device__ __forceinline__ explicit Block(const Problem& a) {
    u_tile = dynamic_shared<bf16>();
    p_tiles = u_tile + C::u_size;
    y_tile = p_tiles + 2 * C::p_size + warp_row() * kPitch<kColumns>;
    map = static_cast<int>(blockIdx.x) % a.maps;
    first = int64_t{static_cast<int>(blockIdx.x) / a.maps} * C::rows;
    count = static_cast<int>(min(int64_t{C::rows}, a.rows - first));
    load_tile<C::rows, C::latent, C::threads>(u_tile, a.u.at(first, map * C::latent), a.u.pitch, count);
    load_p(a, 0, 0);
  }
  // columns: of a map
  template <class T>
  __device__ __forceinline__ Part<T> part_of(const Rows<T>& x, int columns) const {
    return {x.data ? x.at(first, int64_t{map} * columns) : nullptr, static_cast<int>(x.pitch)};
  }
  static __device__ __forceinline__ int warp_row() { return static_cast<int>(threadIdx.x >> 5) * 16; }
  // Of this lane at a step: its token in the tile, and its column in the chunk.
  static __device__ __forceinline__ int token(int step) {
    return warp_row() + step * kTokensOfStep + static_cast<int>(threadIdx.x & 31) / (kColumns / 8);
  }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x) % (kColumns / 8) * 8; }
  __device__ __forceinline__ bf16* y_at(int step) const {
    return y_tile + (token(step) - warp_row()) * kPitch<kColumns> + column();
  }

  __device__ __forceinline__ bf16* p_tile(int stage) const { return p_tiles + stage * C::p_size; }
  __device__ __forceinline__ void load_p(const Problem& a, int chunk, int stage) const {
    load_tile<C::latent, kColumns, C::threads>(p_tile(stage), a.p.at(int64_t{map} * C::latent, chunk * kColumns),
                                               a.p.pitch, C::latent);
    ptx::cp_async_commit();
  }
  // Waits for a chunk of P and starts the next.
  __device__ __forceinline__ void next_p(const Problem& a, int chunk, int stage) const {
    ptx::cp_async_wait<0>();
    __syncthreads();  // and every warp is done with the other stage
    if ((chunk + 1) * kColumns < a.width) load_p(a, chunk + 1, stage ^ 1);
  }
  // This warp's part of U P, to y_tile.
  __device__ __forceinline__ void decode(int stage) const {
    float d[1][kColumns / 8][4] = {};
    multiply_columns<C::latent, kColumns>(d, u_tile + warp_row() * kPitch<C::latent>, p_tile(stage));
    const int lane = threadIdx.x & 31;
    bf16* const to = y_tile + (lane >> 2) * kPitch<kColumns> + (lane & 3) * 2;
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float pair[2] = {d[0][j][2 * h], d[0][j][2 * h + 1]};
        store_vector(to + 8 * h * kPitch<kColumns> + 8 * j, pair);
      }
    __syncwarp();
  }
};

template <class C, GateType gate>
__global__ void __launch_bounds__(C::threads, C::blocks) forward_tiles(const Problem a) {
  const Block<C> b(a);
  const Part<const bf16> z_part = b.part_of(a.z, a.width);
  const Part<bf16> o_part = b.part_of(a.o, a.width);
  for (int chunk = 0; chunk * kColumns < a.width; ++chunk) {
    const int stage = chunk & 1, column = chunk * kColumns + b.column();
    Raw z[kSteps] = {};
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      if (b.token(i) < b.count) z[i] = load_raw(z_part.at(b.token(i), column));
    b.next_p(a, chunk, stage);
    b.decode(stage);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      float gates[8], copy[8], y[8];
      unpack(gates, z[i]);
      load_vector(copy, b.u_tile + b.token(i) * kPitch<C::latent> + column % C::latent);
      load_vector(y, b.y_at(i));
#pragma unroll
      for (int e = 0; e < 8; ++e) y[e] = gate_of<gate>(gates[e]).value * (copy[e] + y[e]);
      if (b.token(i) < b.count) store_vector(o_part.at(b.token(i), column), y);
    }
    __syncwarp();
  }
}

// dU stays in fragments: the copies' dY are added to it where dY P^T is.
template <class C, GateType gate>
__global__ void __launch_bounds__(C::threads, C::blocks) backward_tiles(const Problem a) {
  const Block<C> b(a);
  const Part<const bf16> z_part = b.part_of(a.z, a.width), d_o_part = b.part_of(a.d_o, a.width);
  const Part<bf16> y_part = b.part_of(a.y, a.width), d_z_part = b.part_of(a.d_z, a.width),
                   d_u_part = b.part_of(a.d_u, C::latent);
  const int lane = threadIdx.x & 31, pair = (lane & 3) * 2;
  float d_u[1][C::latent / 8][4] = {};
  for (int copy = 0, chunk = 0; chunk * kColumns < a.width; ++copy)
#pragma unroll
    for (int part = 0; part < C::latent / kColumns; ++part, ++chunk) {
      const int stage = chunk & 1, column = chunk * kColumns + b.column();
      // Both before the product would take more registers than there are.
      Raw z_raw[kSteps] = {}, d_o_raw[kSteps] = {};
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        if (b.token(i) < b.count) z_raw[i] = load_raw(z_part.at(b.token(i), column));
      b.next_p(a, chunk, stage);
      b.decode(stage);
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        if (b.token(i) < b.count) d_o_raw[i] = load_raw(d_o_part.at(b.token(i), column));
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        float z[8], d_o[8], from[8], y[8];
        unpack(z, z_raw[i]);
        unpack(d_o, d_o_raw[i]);
        load_vector(from, b.u_tile + b.token(i) * kPitch<C::latent> + part * kColumns + b.column());
        load_vector(y, b.y_at(i));
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const Slope f = gate_of<gate>(z[e]);
          z[e] = d_o[e] * (from[e] + y[e]) * f.slope;
          y[e] = d_o[e] * f.value;
        }
        store_vector(b.y_at(i), y);
        if (b.token(i) >= b.count) continue;
        store_vector(y_part.at(b.token(i), column), y);
        if (d_z_part.data) write_vector(d_z_part.at(b.token(i), column), z, a.accumulate_z);
      }
      __syncwarp();
      multiply_rows<kColumns>(d_u, b.y_tile, b.p_tile(stage));
#pragma unroll
      for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float d_y[2];
          load_vector(d_y, b.y_tile + ((lane >> 2) + 8 * h) * kPitch<kColumns> + 8 * j + pair);
          d_u[0][part * (kColumns / 8) + j][2 * h] += d_y[0];
          d_u[0][part * (kColumns / 8) + j][2 * h + 1] += d_y[1];
        }
      __syncwarp();
    }
  if (!d_u_part.data) return;
  for_rows<1>(b.warp_row() + (lane >> 2), [&](int i, int token) {
    if (token >= b.count) return;
    bf16* const to = d_u_part.at(token, pair);
    for_pairs(d_u, i, 0, [&](int column, float x, float y) {
      float values[2] = {x, y};
      write_vector(to + column, values, a.accumulate_u);
    });
  });
}

// ---- dP ----

constexpr int kTokensOfPart = 512, kTokensOfTile = 32;

// 8 warps share (latent, columns) numbers of dP: each has 32 rows and as many columns as that leaves it.
template <int latent_, int columns_>
struct WeightTiles {
  static constexpr int latent = latent_, columns = columns_, threads = 256;
  static constexpr int warps_down = latent / 32, own_columns = columns * warps_down / 8;
  static constexpr int u_size = kTokensOfTile * kPitch<latent>, y_size = kTokensOfTile * kPitch<columns>;
  static constexpr size_t shared = 2 * (u_size + y_size) * sizeof(bf16);
  static_assert(8 % warps_down == 0 && own_columns % 16 == 0);
};

// sums (parts, maps * latent, width)
template <class C>
__global__ void __launch_bounds__(C::threads, 2) weight_tiles(const Problem a, float* sums) {
  bf16* const u_tiles = dynamic_shared<bf16>();
  bf16* const y_tiles = u_tiles + 2 * C::u_size;
  const int across = a.width / C::columns, map = static_cast<int>(blockIdx.x) / across,
            column = static_cast<int>(blockIdx.x) % across * C::columns;
  const int64_t begin = int64_t{blockIdx.y} * kTokensOfPart, end = min(a.rows, begin + kTokensOfPart);
  const auto load = [&](int64_t token, int stage) {
    const int count = static_cast<int>(min(int64_t{kTokensOfTile}, end - token));
    load_tile<kTokensOfTile, C::latent, C::threads>(u_tiles + stage * C::u_size, a.u.at(token, map * C::latent),
                                                    a.u.pitch, count);
    load_tile<kTokensOfTile, C::columns, C::threads>(y_tiles + stage * C::y_size, a.y.at(token, map * a.width + column),
                                                     a.y.pitch, count);
    ptx::cp_async_commit();
  };
  const int warp = threadIdx.x >> 5, row = warp % C::warps_down * 32, own = warp / C::warps_down * C::own_columns;
  float d_p[2][C::own_columns / 8][4] = {};
  load(begin, 0);
  int stage = 0;
  for (int64_t token = begin; token < end; token += kTokensOfTile, stage ^= 1) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // and every warp is done with the other stage
    if (token + kTokensOfTile < end) load(token + kTokensOfTile, stage ^ 1);
    multiply_transposed<kTokensOfTile, C::latent, C::columns>(d_p, u_tiles + stage * C::u_size + row,
                                                              y_tiles + stage * C::y_size + own);
  }
  const int lane = threadIdx.x & 31;
  float* const to = sums + ((int64_t{blockIdx.y} * a.maps + map) * C::latent + row + (lane >> 2)) * a.width + column +
                    own + (lane & 3) * 2;
  for_rows<2>(0, [&](int i, int r) {
    for_pairs(d_p, i, 0, [&](int column, float x, float y) {
      *reinterpret_cast<float2*>(to + int64_t{r} * a.width + column) = {x, y};
    });
  });
}

// d_p (rows, width) (+)= the sum of `parts`, in their order
__global__ void __launch_bounds__(256)
    add_parts(const float* sums, int parts, Rows<float> d_p, int64_t rows, int width, bool accumulate) {
  for_items(rows, width / 4, [&](int64_t row, int64_t item) {
    float total[4] = {};
    for (int part = 0; part < parts; ++part) {
      float sum[4];
      load_vector(sum, sums + (part * rows + row) * width + item * 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) total[i] += sum[i];
    }
    write_vector(d_p.at(row, item * 4), total, accumulate);
  });
}

// ---- launching ----

template <class C>
unsigned blocks_of(const Problem& a) {
  return static_cast<unsigned>(ceil_div(a.rows, C::rows) * a.maps);
}

// Calls f with the latent size, a constant; false, and no call, when there are no tiles of that size, for these tensors
// or on this device.
template <class F>
bool with_latent(int64_t latent, std::initializer_list<const Tensor*> tensors, F&& f) {
  for (const Tensor* tensor : tensors)
    if (tensor->defined() && (tensor->dtype() != DType::BF16 || !aligned_rows(*tensor))) return false;
  if (latent == 64) return f(std::integral_constant<int, 64>{});
  if (latent == 128) return f(std::integral_constant<int, 128>{});
  return false;
}
template <class... C>
bool fits(const Device& device) {
  return ((C::shared + kBesideTiles <= shared_bytes_of(device)) && ...);
}

double product_flops(const Problem& a, int64_t latent) {
  return 2.0 * static_cast<double>(a.rows) * static_cast<double>(a.maps) * static_cast<double>(latent) * a.width;
}

template <int latent, int columns>
void weight_gradient(const Problem& a, const Tensor& d_p, GradientMode mode, cudaStream_t stream) {
  using C = WeightTiles<latent, columns>;
  const int64_t parts = ceil_div(a.rows, kTokensOfPart);
  const Tensor sums = Tensor::empty({parts * a.maps * latent, a.width}, DType::F32, d_p.device(), Purpose::Workspace);
  GTA_LAUNCH(weight_tiles<C>, dim3(static_cast<unsigned>(a.maps * (a.width / columns)), static_cast<unsigned>(parts)),
             C::threads, C::shared, stream, a, sums.data<float>());
  const Threads threads = threads_of(d_p.rows(), a.width / 4);
  GTA_LAUNCH(add_parts, threads.grid, threads.block, 0, stream, sums.data<float>(), static_cast<int>(parts),
             rows_of<float>(d_p), d_p.rows(), a.width, mode == GradientMode::Accumulate);
}

}  // namespace

bool value_decoder_forward_tiles(const ValueDecoderForward& f) {
  const int64_t latent = f.u.columns() / f.query_heads;
  if (f.o.elements() == 0) return false;
  return with_latent(latent, {&f.u, &f.z, &f.p, &f.o}, [&](auto size) {
    using C = Tiles<size, 8, 2>;
    if (!fits<C>(f.o.device())) return false;
    Problem a{f.o.rows(),
              static_cast<int>(f.query_heads),
              static_cast<int>(f.p.columns()),
              rows_of<const bf16>(f.u),
              rows_of<const bf16>(f.z),
              rows_of<const bf16>(f.p),
              {},
              rows_of<bf16>(f.o),
              {},
              {},
              {},
              false,
              false};
    ProfilerRange::add_flops(product_flops(a, latent));
    with_gate(f.gate, [&](auto gate) {
      GTA_LAUNCH((forward_tiles<C, gate>), blocks_of<C>(a), C::threads, C::shared, stream_of(f.o.device()), a);
    });
    return true;
  });
}

bool value_decoder_backward_tiles(const ValueDecoderBackward& b, const Tensor& p, const Tensor& d_p,
                                  GradientMode mode_p) {
  const int64_t latent = b.u.columns() / b.query_heads;
  if (b.y.elements() == 0 || (d_p.defined() && (d_p.dtype() != DType::F32 || !aligned_rows(d_p)))) return false;
  return with_latent(latent, {&b.u, &b.z, &p, &b.d_o, &b.y, &b.d_z, &b.d_u}, [&](auto size) {
    using C = Tiles<size, 4, 2>;
    if (!fits<C, WeightTiles<size, 128>>(b.y.device())) return false;
    const cudaStream_t stream = stream_of(b.y.device());
    const Problem a{b.y.rows(),
                    static_cast<int>(b.query_heads),
                    static_cast<int>(p.columns()),
                    rows_of<const bf16>(b.u),
                    rows_of<const bf16>(b.z),
                    rows_of<const bf16>(p),
                    rows_of<const bf16>(b.d_o),
                    {},
                    rows_of<bf16>(b.y),
                    rows_of<bf16>(b.d_z),
                    rows_of<bf16>(b.d_u),
                    b.mode_z == GradientMode::Accumulate,
                    b.mode_u == GradientMode::Accumulate};
    ProfilerRange::add_flops((d_p.defined() ? 3 : 2) * product_flops(a, latent));
    with_gate(b.gate, [&](auto gate) {
      GTA_LAUNCH((backward_tiles<C, gate>), blocks_of<C>(a), C::threads, C::shared, stream, a);
    });
    if (!d_p.defined()) return true;
    if (a.width % 128 == 0)
      weight_gradient<size, 128>(a, d_p, mode_p, stream);
    else
      weight_gradient<size, 64>(a, d_p, mode_p, stream);
    return true;
  });
}

}  // namespace gta::cuda
