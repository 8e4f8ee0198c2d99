// The device's built-ins that kernels use, against plain arithmetic on the host. The same file runs on a GPU and on
// tests/host_cuda, which defines these built-ins itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/backends/cuda/launch.h"
#include "tests/cuda_device.h"

namespace gta::cuda {
namespace {

constexpr unsigned kAll = 0xffffffffu;

int value_of(int lane) { return (lane * 37 + 11) % 101 - 50; }

// Runs kernel(out) in one block and returns `values` values a thread.
std::vector<int32_t> run(const Device& device, void (*kernel)(int*), int threads, int values) {
  const Tensor out = Tensor::zeros({threads, values}, DType::I32, device);
  GTA_LAUNCH(kernel, dim3(1), dim3(threads), 0, stream_of(device), out.data<int32_t>());
  return out.to_vector<int32_t>();
}

template <int width>
__global__ void shuffles_kernel(int* out) {
  const int lane = threadIdx.x, x = (lane * 37 + 11) % 101 - 50;
  int* const to = out + 4 * lane;
  to[0] = __shfl_sync(kAll, x, lane * 5 + 3, width);
  to[1] = __shfl_up_sync(kAll, x, 3, width);
  to[2] = __shfl_down_sync(kAll, x, 3, width);
  to[3] = __shfl_xor_sync(kAll, x, 5, width);
}

template <int width>
void expect_shuffles(const Device& device) {
  const std::vector<int32_t> got = run(device, shuffles_kernel<width>, 32, 4);
  for (int lane = 0; lane < 32; ++lane) {
    const int first = lane / width * width, end = first + width;
    SCOPED_TRACE(testing::Message() << "width " << width << ", lane " << lane);
    EXPECT_EQ(got[4 * lane], value_of(first + (lane * 5 + 3) % width));
    EXPECT_EQ(got[4 * lane + 1], value_of(lane - 3 >= first ? lane - 3 : lane));
    EXPECT_EQ(got[4 * lane + 2], value_of(lane + 3 < end ? lane + 3 : lane));
    EXPECT_EQ(got[4 * lane + 3], value_of((lane ^ 5) < end ? lane ^ 5 : lane));
  }
}

TEST(CudaBuiltins, ShufflesStayInsideTheirWidth) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  expect_shuffles<32>(device);
  expect_shuffles<16>(device);
  expect_shuffles<8>(device);
}

// Types of two to eight bytes; the upper half of a warp by a mask of its own.
__global__ void typed_shuffles_kernel(int* out) {
  const int lane = threadIdx.x;
  const unsigned mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  const float real = __shfl_xor_sync(mask, 0.5f * static_cast<float>(lane), 1);
  const unsigned long long wide = __shfl_xor_sync(mask, static_cast<unsigned long long>(lane) << 40, 2);
  const __nv_bfloat16 half = __shfl_xor_sync(mask, __float2bfloat16_rn(static_cast<float>(lane)), 4);
  out[3 * lane] = static_cast<int>(2 * real);
  out[3 * lane + 1] = static_cast<int>(wide >> 40);
  out[3 * lane + 2] = static_cast<int>(__bfloat162float(half));
}

TEST(CudaBuiltins, ShufflesOfEveryTypeInHalfAWarp) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> got = run(device, typed_shuffles_kernel, 32, 3);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 3; ++i) EXPECT_EQ(got[3 * lane + i], lane ^ (1 << i)) << "lane " << lane;
}

__global__ void votes_kernel(int* out) {
  const int lane = threadIdx.x, x = (lane * 37 + 11) % 101 - 50;
  int* const to = out + 8 * lane;
  to[0] = static_cast<int>(__ballot_sync(kAll, x > 0));
  to[1] = __any_sync(kAll, x == 1000);
  to[2] = __any_sync(kAll, lane == 7);
  to[3] = __all_sync(kAll, lane != 7);
  to[4] = __all_sync(kAll, lane >= 0);
  to[5] = __reduce_add_sync(kAll, x);
  to[6] = __reduce_min_sync(kAll, x);
  // not negative
  to[7] = static_cast<int>(__reduce_max_sync(kAll, lane == 3 ? 0x80000000u : static_cast<unsigned>(lane)));
}

TEST(CudaBuiltins, VotesAndReductionsOfAWarp) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  unsigned positive = 0;
  int sum = 0, least = 100;
  for (int lane = 0; lane < 32; ++lane) {
    positive |= static_cast<unsigned>(value_of(lane) > 0) << lane;
    sum += value_of(lane);
    least = std::min(least, value_of(lane));
  }
  const std::vector<int32_t> expected = {std::bit_cast<int>(positive),   0, 1, 0, 1, sum, least,
                                         std::bit_cast<int>(0x80000000u)};
  const std::vector<int32_t> got = run(device, votes_kernel, 32, 8);
  for (int i = 0; i < 32 * 8; ++i) EXPECT_EQ(got[i], expected[i % 8]) << "lane " << i / 8 << ", value " << i % 8;
}

// Three warps, the last one not full: a full mask means the lanes that there are.
__global__ void barriers_kernel(int* out) {
  int* const to = out + 4 * threadIdx.x;
  to[0] = __syncthreads_count(threadIdx.x % 3 == 0);
  to[1] = __syncthreads_or(threadIdx.x == 70) != 0;
  to[2] = __syncthreads_and(threadIdx.x != 70) != 0;
  __syncwarp();
  to[3] = __syncthreads_and(1) != 0;
}

TEST(CudaBuiltins, BarriersThatCount) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> expected = {24, 1, 0, 1};
  const std::vector<int32_t> got = run(device, barriers_kernel, 72, 4);
  for (int i = 0; i < 72 * 4; ++i) EXPECT_EQ(got[i], expected[i % 4]) << "thread " << i / 4 << ", value " << i % 4;
}

// Integers alone: their sums do not depend on the order.
__global__ void atomics_kernel(int* out) {
  GTA_SHARED_ARRAY(int, shared_sum, [1]);
  if (threadIdx.x == 0) shared_sum[0] = 0;
  __syncthreads();
  const int x = static_cast<int>(threadIdx.x) + 1;
  atomicAdd(shared_sum, x);
  atomicAdd(out, x);
  atomicMax(out + 1, x);
  atomicMin(out + 2, -x);
  atomicOr(out + 3, 1 << (x % 31));
  atomicAnd(out + 4, -2);
  if (atomicCAS(out + 5, 0, x) == 0) atomicAdd(out + 6, 1);  // one thread alone finds the zero
  atomicExch(out + 7, 12);
  __syncthreads();
  if (threadIdx.x == 0) out[8] = shared_sum[0];
}

TEST(CudaBuiltins, AtomicsOfIntegers) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> got = run(device, atomics_kernel, 64, 1);
  EXPECT_EQ(got[0], 64 * 65 / 2);
  EXPECT_EQ(got[1], 64);
  EXPECT_EQ(got[2], -64);
  EXPECT_EQ(got[3], 0x7fffffff);
  EXPECT_EQ(got[4], 0);
  EXPECT_TRUE(got[5] >= 1 && got[5] <= 64) << got[5];
  EXPECT_EQ(got[6], 1);
  EXPECT_EQ(got[7], 12);
  EXPECT_EQ(got[8], 64 * 65 / 2);
}

__global__ void bits_kernel(int* out) {
  const unsigned x = 0x00f01234u >> threadIdx.x;
  int* const to = out + 6 * threadIdx.x;
  to[0] = __popc(x);
  to[1] = __clz(static_cast<int>(x));
  to[2] = __ffs(static_cast<int>(x));
  to[3] = static_cast<int>(__umulhi(x, 0x12345678u));
  to[4] = __float_as_int(__int_as_float(static_cast<int>(x)));
  to[5] = static_cast<int>(__float_as_uint(__uint_as_float(x)));
}

TEST(CudaBuiltins, Bits) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> got = run(device, bits_kernel, 32, 6);
  for (int i = 0; i < 32; ++i) {
    const unsigned x = 0x00f01234u >> i;
    const std::vector<int> expected = {std::popcount(x),
                                       std::countl_zero(x),
                                       x ? std::countr_zero(x) + 1 : 0,
                                       static_cast<int>((static_cast<uint64_t>(x) * 0x12345678u) >> 32),
                                       static_cast<int>(x),
                                       static_cast<int>(x)};
    for (int j = 0; j < 6; ++j) EXPECT_EQ(got[6 * i + j], expected[j]) << "of " << x << ", value " << j;
  }
}

__global__ void mathematics_kernel(int* out) {
  const float x = 0.25f + 0.5f * static_cast<float>(threadIdx.x);
  const float values[7] = {
      __expf(-x), __logf(x), rsqrtf(x), __fdividef(1.0f, x), __frcp_rn(x), __fmaf_rn(x, x, -1.0f), __saturatef(x - 1)};
  for (int i = 0; i < 7; ++i) out[7 * threadIdx.x + i] = __float_as_int(values[i]);
}

TEST(CudaBuiltins, MathematicsIsNear) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> got = run(device, mathematics_kernel, 32, 7);
  for (int i = 0; i < 32; ++i) {
    const double x = 0.25 + 0.5 * i;
    const std::vector<double> expected = {
        std::exp(-x), std::log(x), 1 / std::sqrt(x), 1 / x, 1 / x, x * x - 1, std::min(std::max(x - 1, 0.0), 1.0)};
    // NVIDIA's tables: __expf errs by 2 + 1.2 x units in the last place, here 21 of results below 1; __logf by 2^-21.4
    // or 3 units.
    for (int j = 0; j < 7; ++j)
      EXPECT_NEAR(std::bit_cast<float>(got[7 * i + j]), expected[j], 2.5e-6 * std::max(1.0, std::fabs(expected[j])))
          << "of " << x << ", value " << j;
  }
}

__device__ int bits_of(__nv_bfloat162 x) {
  return static_cast<int>(__bfloat16_as_ushort(x.x) | static_cast<unsigned>(__bfloat16_as_ushort(x.y)) << 16);
}

__global__ void pairs_kernel(int* out) {
  const auto i = static_cast<float>(threadIdx.x);
  const __nv_bfloat162 a = __floats2bfloat162_rn(1 + i / 64, -i / 16), b = __floats2bfloat162_rn(0.75f + i, 3),
                       c = __floats2bfloat162_rn(1, i * i);
  int* const to = out + 4 * threadIdx.x;
  to[0] = bits_of(a);
  to[1] = bits_of(__hfma2(a, b, c));
  to[2] = bits_of(__hadd2(a, b));
  to[3] = bits_of(__hmul2(a, b));
}

TEST(CudaBuiltins, PairsOfBfloat16AreRoundedOnce) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> got = run(device, pairs_kernel, 32, 4);
  for (int n = 0; n < 32; ++n) {
    const auto i = static_cast<float>(n);
    const auto rounded = [](float x) { return static_cast<float>(bfloat16(x)); };
    const auto expect_pair = [&](int value, float x, float y) {
      const auto bits = static_cast<uint32_t>(got[4 * n + value]);
      EXPECT_EQ(std::bit_cast<float>(bits << 16), rounded(x)) << "of " << n << ", value " << value;
      EXPECT_EQ(std::bit_cast<float>(bits & 0xffff0000u), rounded(y)) << "of " << n << ", value " << value;
    };
    const float a0 = rounded(1 + i / 64), a1 = rounded(-i / 16), b0 = rounded(0.75f + i), b1 = 3, c1 = rounded(i * i);
    expect_pair(0, a0, a1);
    expect_pair(1, a0 * b0 + 1, a1 * b1 + c1);  // exact in float32: few bits
    expect_pair(2, a0 + b0, a1 + b1);
    expect_pair(3, a0 * b0, a1 * b1);
  }
}

__device__ const int kTable[4] = {3, 1, 4, 15};

// Vectors of 16 bytes through the loads and stores with hints.
__global__ void hints_kernel(int* out) {
  auto* const to = reinterpret_cast<int4*>(out);
  const int t = static_cast<int>(threadIdx.x);
  __stcs(to + t, make_int4(t, t + 1, t + 2, t + 3));
  __syncthreads();
  int4 x = __ldcs(to + t);
  x.w = __ldcg(to + (t ^ 1)).x;
  x.z = __ldg(kTable + t % 4);
  __syncthreads();
  __stcg(to + t, x);
}

TEST(CudaBuiltins, LoadsAndStoresWithHints) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<int32_t> got = run(device, hints_kernel, 32, 4);
  for (int t = 0; t < 32; ++t) {
    const std::vector<int32_t> expected = {t, t + 1, std::vector<int32_t>{3, 1, 4, 15}[t % 4], t ^ 1};
    for (int i = 0; i < 4; ++i) EXPECT_EQ(got[4 * t + i], expected[i]) << "thread " << t;
  }
}

}  // namespace
}  // namespace gta::cuda
