#include "core/backends/cuda/vectors.h"
#include "layers/embedding/embedding.h"

namespace gta::cuda {
namespace {

// y[t] = weight[token[t]]        y (rows, width)
template <class T, int n>
__global__ void embed_tokens(const int32_t* tokens, Rows<const T> weight, Rows<T> y, int64_t rows, int64_t width) {
  for_items(rows, width / n,
            [&](int64_t row, int64_t item) { copy_vector<n>(y.at(row, item * n), weight.at(tokens[row], item * n)); });
}

// ---- the sort ----

// order: the t by rising token, and by rising t where tokens are equal. A radix sort, eight bits of the tokens at a
// time from the lowest on, each time stable, so that the last leaves them sorted by all. Its time is proportional to
// the tokens. Every block has the same number of neighbouring positions; as the stable order is one, that number
// changes no result.
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits, kSortWarps = kDigits / 32;
// A block: few enough of them that each can add up what the blocks before it have.
constexpr int64_t kSortPositions = 1024, kMostSortBlocks = 128;

struct SortPass {
  const int32_t* tokens;
  const int32_t* order;  // before this pass; none: by t
  int32_t* sorted;       // after it
  int32_t* counts;       // (blocks, kDigits): how many of a block's tokens have the digit
  int64_t count, positions;
  int shift;

  __device__ __forceinline__ int32_t at(int64_t position) const {
    return order ? order[position] : static_cast<int32_t>(position);
  }
  __device__ __forceinline__ int digit_of(int32_t t) const { return tokens[t] >> shift & (kDigits - 1); }
};

__global__ void __launch_bounds__(kDigits) count_digits(const SortPass a) {
  GTA_SHARED_ARRAY(int32_t, counts, [kDigits]);
  counts[threadIdx.x] = 0;
  __syncthreads();
  const int64_t begin = blockIdx.x * a.positions, end = min(a.count, begin + a.positions);
  for (int64_t position = begin + threadIdx.x; position < end; position += kDigits)
    atomicAdd(&counts[a.digit_of(a.at(position))], 1);
  __syncthreads();
  a.counts[blockIdx.x * kDigits + threadIdx.x] = counts[threadIdx.x];
}

// Where a position goes: behind all smaller digits, its own digit in blocks before, in warps before, and in lanes
// before.
__global__ void __launch_bounds__(kDigits) move_by_digit(const SortPass a) {
  // how many of a warp's 32 tokens have the digit, then where they begin
  GTA_SHARED_ARRAY(int32_t, of_warps, [kSortWarps][kDigits]);
  // mine: the digit that this thread counts
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, mine = threadIdx.x;
  int32_t all = 0, before = 0;
  for (int block = 0; block < static_cast<int>(gridDim.x); ++block) {
    const int32_t here = a.counts[block * kDigits + mine];
    all += here;
    if (block < static_cast<int>(blockIdx.x)) before += here;
  }
  // Sum over the digits up to mine: of a warp's, then of the warps before.
  int32_t sum = all;
#pragma unroll
  for (int distance = 1; distance < 32; distance <<= 1) {
    const int32_t left = __shfl_up_sync(0xffffffffu, sum, distance);
    if (lane >= distance) sum += left;
  }
  if (lane == 31) of_warps[0][warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += of_warps[0][w];
  int32_t next = sum - all + before;  // where the block's next token with that digit goes

  const int64_t begin = blockIdx.x * a.positions, end = min(a.count, begin + a.positions);
  for (int64_t first = begin; first < end; first += kDigits) {
    __syncthreads();  // what was counted before has been read
    for (int w = 0; w < kSortWarps; ++w) of_warps[w][mine] = 0;
    __syncthreads();
    const bool here = first + threadIdx.x < end;
    const int32_t t = here ? a.at(first + threadIdx.x) : 0;
    const int digit = here ? a.digit_of(t) : 0;
    unsigned same = __ballot_sync(0xffffffffu, here);  // the lanes with this lane's digit
#pragma unroll
    for (int bit = 0; bit < kDigitBits; ++bit) {
      const bool set = digit >> bit & 1;
      const unsigned with = __ballot_sync(0xffffffffu, set);
      same &= set ? with : ~with;
    }
    const int earlier = __popc(same & ((1u << lane) - 1));
    if (here && earlier == 0) of_warps[warp][digit] = __popc(same);
    __syncthreads();
    for (int w = 0; w < kSortWarps; ++w) {
      const int32_t those = of_warps[w][mine];
      of_warps[w][mine] = next;
      next += those;
    }
    __syncthreads();
    if (here) a.sorted[of_warps[warp][digit] + earlier] = t;
  }
}

// `vocab`: no token is larger.
Tensor sorted_by_token(const Tensor& tokens, int64_t vocab, cudaStream_t stream) {
  const int64_t count = tokens.elements(),
                positions = ceil_div(std::max(kSortPositions, ceil_div(count, kMostSortBlocks)), kDigits) * kDigits;
  const unsigned blocks = static_cast<unsigned>(ceil_div(count, positions));
  const auto workspace = [&](int64_t elements) {
    return Tensor::empty({elements}, DType::I32, tokens.device(), Purpose::Workspace);
  };
  const Tensor counts = workspace(int64_t{blocks} * kDigits);
  Tensor order, sorted = workspace(count), other;
  const int bits = std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(vocab - 1))));
  if (bits > kDigitBits) other = workspace(count);
  for (int shift = 0; shift < bits; shift += kDigitBits) {
    const SortPass pass = {tokens.data<int32_t>(),
                           shift ? order.data<int32_t>() : nullptr,
                           sorted.data<int32_t>(),
                           counts.data<int32_t>(),
                           count,
                           positions,
                           shift};
    GTA_LAUNCH(count_digits, blocks, kDigits, 0, stream, pass);
    GTA_LAUNCH(move_by_digit, blocks, kDigits, 0, stream, pass);
    order = sorted;
    std::swap(sorted, other);
  }
  return order;
}

// ---- the sums ----

constexpr int kAtOnce = 4;  // rows of a run that are on their way together: a frequent token's run is long

// dw[v] += sum over the t with token[t] = v, by rising t, of dy[t]        dy (count, width), dw (vocab, width)
// order holds the t by token, then by t. A warp has one position of it and 32 n columns, and sums the run of equal
// tokens that begins there, if one does.
template <class T, int n>
__global__ void sum_runs(const int32_t* tokens, const int32_t* order, int64_t count, Rows<const T> d_y,
                         Rows<float> d_weight, int64_t width) {
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
      GTA_LAUNCH((embed_tokens<T, n>), threads.grid, threads.block, 0, stream_of(y.device()), tokens.data<int32_t>(),
                 rows_of<const T>(weight), rows_of<T>(y), rows, width);
    });
  });
}

void embedding_backward(const Tensor& tokens, const Tensor& d_y, const Tensor& d_weight, GradientMode mode) {
  if (mode == GradientMode::Overwrite) d_weight.fill_zero();
  const int64_t count = tokens.elements(), width = d_y.columns();
  if (count == 0 || width == 0) return;
  require(count <= INT32_MAX, "embedding", "{} tokens at once are more than the CUDA backend sorts", count);
  const cudaStream_t stream = stream_of(d_y.device());
  const Tensor order = sorted_by_token(tokens, d_weight.rows(), stream);
  dispatch_device(d_y.dtype(), "embedding", [&](auto zero) {
    using T = decltype(zero);
    with_vectors<kVector<T>>({width}, {&d_y, &d_weight}, [&](auto n) {
      Threads threads = warps_of(count);
      threads.grid.y = static_cast<unsigned>(ceil_div(width, 32 * n));
      GTA_LAUNCH((sum_runs<T, n>), threads.grid, threads.block, 0, stream, tokens.data<int32_t>(),
                 order.data<int32_t>(), count, rows_of<const T>(d_y), rows_of<float>(d_weight), width);
    });
  });
}

}  // namespace gta::cuda
