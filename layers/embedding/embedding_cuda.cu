#include "core/backends/cuda/vectors.h"
#include "layers/embedding/embedding.h"

namespace gta::cuda {
namespace {

// y[t] = weight[token[t]]        y (rows, width)
template <class T, int n>
__global__ void forward_kernel(const int32_t* tokens, Rows<const T> weight, Rows<T> y, int64_t rows, int64_t width) {
  for_items(rows, width / n, [&](int64_t row, int64_t item) { copy_vector<n>(y.at(row, item * n), weight.at(tokens[row], item * n)); });
}

constexpr int kTile = 256;  // tokens that a block compares at a time, and its threads

// order[rank of t] = t, where the rank counts the tokens that are smaller, or equal and earlier: a stable sort by comparing all pairs, with two
// instructions for each. For 32768 tokens that should be some 0.2 ms of a step of 80 ms or more, and no other sort is as short.
__global__ void sort_kernel(const int32_t* tokens, int64_t count, int32_t* order) {
  GTA_SHARED_ARRAY(int32_t, tile, [kTile]);
  const int64_t t = int64_t{blockIdx.x} * kTile + threadIdx.x;
  const int32_t mine = t < count ? tokens[t] : 0;
  int32_t rank = 0;
  for (int64_t first = 0; first < count; first += kTile) {
    if (first + threadIdx.x < count) tile[threadIdx.x] = tokens[first + threadIdx.x];
    __syncthreads();
    const int here = static_cast<int>(min(int64_t{kTile}, count - first));
    const int earlier = static_cast<int>(max(int64_t{0}, min(int64_t{here}, t - first)));  // of the tile's tokens
    if (earlier == here) {
#pragma unroll 16
      for (int i = 0; i < here; ++i) rank += tile[i] <= mine;
    } else if (earlier == 0) {
#pragma unroll 16
      for (int i = 0; i < here; ++i) rank += tile[i] < mine;
    } else {
      for (int i = 0; i < here; ++i) rank += tile[i] < mine || (tile[i] == mine && i < earlier);
    }
    __syncthreads();
  }
  if (t < count) order[rank] = static_cast<int32_t>(t);
}

constexpr int kAtOnce = 4;  // rows of a run that are on their way together: a frequent token's run is long

// dw[v] += sum over the t with token[t] = v, by rising t, of dy[t]        dy (count, width), dw (vocab, width)
// order holds the t by token. A warp has one position of it and 32 n columns, and sums the run of equal tokens that begins there, if one does.
template <class T, int n>
__global__ void sum_runs(const int32_t* tokens, const int32_t* order, int64_t count, Rows<const T> d_y, Rows<float> d_weight, int64_t width) {
  const int64_t column = (int64_t{blockIdx.y} * 32 + threadIdx.x) * n;
  for_rows(count, [&](int64_t begin) {
    const int32_t token = tokens[order[begin]];
    if (begin > 0 && tokens[order[begin - 1]] == token) return;
    float sum[n] = {};
    if (column < width) load_vector(sum, d_weight.at(token, column));
    // 32 positions at a time, of which those of the run come first.
    for (int64_t first = begin;; first += 32) {
      const int64_t position = first + threadIdx.x;
      const int32_t t = position < count ? order[position] : -1;
      const unsigned same = __ballot_sync(0xffffffffu, t >= 0 && tokens[t < 0 ? 0 : t] == token);
      const int run = __popc(same);
      for (int i = 0; i < run; i += kAtOnce) {
        float d[kAtOnce][n] = {};
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
          const int32_t row = __shfl_sync(0xffffffffu, t, i + j);
          if (i + j < run && column < width) load_vector(d[j], d_y.at(row, column));
        }
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j)
#pragma unroll
          for (int k = 0; k < n; ++k) sum[k] += d[j][k];
      }
      if (run < 32) break;
    }
    if (column < width) store_vector(d_weight.at(token, column), sum);
  });
}

}  // namespace

void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& y) {
  const int64_t rows = y.rows(), width = y.columns();
  dispatch_device(y.dtype(), "embedding", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&weight, &y}, [&](auto n) {
      const Threads threads = threads_of(rows, width / n);
      GTA_LAUNCH((forward_kernel<T, n>), threads.grid, threads.block, 0, stream_of(y.device()), tokens.data<int32_t>(), rows_of<const T>(weight),
                 rows_of<T>(y), rows, width);
    });
  });
}

void embedding_backward(const Tensor& tokens, const Tensor& d_y, const Tensor& d_weight, GradientMode mode) {
  if (mode == GradientMode::Overwrite) d_weight.fill_zero();
  const int64_t count = tokens.elements(), width = d_y.columns();
  if (count == 0 || width == 0) return;
  require(count <= INT32_MAX, "embedding", "{} tokens at once are more than the CUDA backend sorts", count);
  const cudaStream_t stream = stream_of(d_y.device());
  const Tensor order = Tensor::empty({count}, DType::I32, d_y.device(), Purpose::Workspace);
  GTA_LAUNCH(sort_kernel, dim3(static_cast<unsigned>(ceil_div(count, kTile))), dim3(kTile), 0, stream, tokens.data<int32_t>(), count, order.data<int32_t>());
  dispatch_device(d_y.dtype(), "embedding", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&d_y, &d_weight}, [&](auto n) {
      Threads threads = warps_of(count);
      threads.grid.y = static_cast<unsigned>(ceil_div(width, 32 * n));
      GTA_LAUNCH((sum_runs<T, n>), threads.grid, threads.block, 0, stream, tokens.data<int32_t>(), order.data<int32_t>(), count, rows_of<const T>(d_y),
                 rows_of<float>(d_weight), width);
    });
  });
}

}  // namespace gta::cuda
