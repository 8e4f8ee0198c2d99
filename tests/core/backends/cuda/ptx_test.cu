// Every PTX wrapper and the sums of warps and blocks, against plain arithmetic on the host. The same file runs on a GPU
// and on tests/host_cuda: a kernel and the tool that executes it could share a misunderstanding of the instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "core/backends/cuda/ptx.h"
#include "tests/cuda_device.h"

namespace gta::cuda {
namespace {

bfloat16 small(int i) { return bfloat16(static_cast<float>((i * 37 + 11) % 64 - 32) / 8.0f); }

std::vector<bfloat16> some(int count, int from) {
  std::vector<bfloat16> values(count);
  for (int i = 0; i < count; ++i) values[i] = small(i + from);
  return values;
}

// Fragments by the layouts that ptx.h states.
__global__ void product_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c, float* d) {
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const auto pair = [](const __nv_bfloat16* x, int first, int second) {
    return static_cast<uint32_t>(__bfloat16_as_ushort(x[first])) |
           static_cast<uint32_t>(__bfloat16_as_ushort(x[second])) << 16;
  };
  const auto row = [&](int r, int column) { return pair(a, r * 16 + column, r * 16 + column + 1); };
  const auto column = [&](int r) { return pair(b, r * 8 + g, (r + 1) * 8 + g); };
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  ptx::mma_m16n8k16(sums, {row(g, 2 * t), row(g + 8, 2 * t), row(g, 2 * t + 8), row(g + 8, 2 * t + 8)},
                    {column(2 * t), column(2 * t + 8)});
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

TEST(Ptx, ProductOfATileIsTheProduct) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const std::vector<bfloat16> a = some(16 * 16, 0), b = some(16 * 8, 5);
  std::vector<float> c(16 * 8), expected(16 * 8);
  for (int i = 0; i < 16 * 8; ++i) c[i] = expected[i] = static_cast<float>(i % 13) - 6;
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j)
      for (int k = 0; k < 16; ++k)
        expected[i * 8 + j] += static_cast<float>(a[i * 16 + k]) * static_cast<float>(b[k * 8 + j]);
  const Tensor d = Tensor::zeros({16, 8}, DType::F32, device);
  const Tensor on_a = Tensor::from<bfloat16>({16, 16}, a).to(device, Purpose::Data),
               on_b = Tensor::from<bfloat16>({16, 8}, b).to(device, Purpose::Data),
               on_c = Tensor::from<float>({16, 8}, c).to(device, Purpose::Data);
  GTA_LAUNCH(product_kernel, dim3(1), dim3(32), 0, stream_of(device), device_data<__nv_bfloat16>(on_a),
             device_data<__nv_bfloat16>(on_b), on_c.data<float>(), d.data<float>());
  EXPECT_EQ(d.to_vector<float>(), expected) << "sums of eighths are exact in float32";
}

// Four matrices of 8 x 8 side by side in shared memory; register i of lane 4g + t: elements (g, 2t) and (g, 2t + 1) of
// matrix i, or (2t, g), (2t + 1, g).
template <bool transposed>
__global__ void load_kernel(const uint16_t* in, uint32_t* out) {
  constexpr int kPitch = 40;  // rows of 32 elements, 16-byte aligned
  GTA_SHARED_ARRAY(uint16_t, tile, [8 * kPitch]);
  for (int i = threadIdx.x; i < 8 * 32; i += 32) tile[i / 32 * kPitch + i % 32] = in[i];
  __syncwarp();
  uint32_t r[4];
  const uint16_t* const row = tile + threadIdx.x % 8 * kPitch + threadIdx.x / 8 * 8;
  if (transposed)
    ptx::ldmatrix_x4_transposed(r, row);
  else
    ptx::ldmatrix_x4(r, row);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = r[i];
}

template <bool transposed>
void expect_loaded(const Device& device) {
  std::vector<int32_t> words(8 * 16);  // pairs of 16-bit elements, each its own index
  for (int i = 0; i < 8 * 16; ++i) words[i] = (2 * i) | (2 * i + 1) << 16;
  const Tensor in = Tensor::from<int32_t>({8, 16}, words).to(device, Purpose::Data),
               out = Tensor::zeros({32, 4}, DType::I32, device);
  GTA_LAUNCH(load_kernel<transposed>, dim3(1), dim3(32), 0, stream_of(device),
             reinterpret_cast<const uint16_t*>(in.data<int32_t>()), reinterpret_cast<uint32_t*>(out.data<int32_t>()));
  const std::vector<int32_t> got = out.to_vector<int32_t>();
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int g = lane / 4, t = lane % 4;
      const auto element = [&](int row, int column) { return row * 32 + i * 8 + column; };
      const int low = transposed ? element(2 * t, g) : element(g, 2 * t),
                high = transposed ? element(2 * t + 1, g) : element(g, 2 * t + 1);
      EXPECT_EQ(got[lane * 4 + i], low | high << 16) << "lane " << lane << " register " << i;
    }
}

TEST(Ptx, MatricesAreLoadedAsTheyLie) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  expect_loaded<false>(device);
}

TEST(Ptx, MatricesAreLoadedTransposed) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  expect_loaded<true>(device);
}

// Thread t copies t % 17 bytes of 16 to shared memory, in two groups.
__global__ void copy_kernel(const unsigned char* in, unsigned char* out) {
  GTA_SHARED_ARRAY(uint4, tile, [64]);
  const int t = threadIdx.x;
  ptx::cp_async_16(&tile[t], in + 16 * t, t % 17);
  ptx::cp_async_commit();
  ptx::cp_async_16(&tile[32 + t], in + 16 * (31 - t));
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  const auto* const first = reinterpret_cast<const unsigned char*>(&tile[t]);
  for (int i = 0; i < 16; ++i) out[16 * t + i] = first[i];  // its own: no barrier is needed
  ptx::cp_async_wait<0>();
  __syncwarp();
  const auto* const other = reinterpret_cast<const unsigned char*>(&tile[63 - t]);
  for (int i = 0; i < 16; ++i) out[512 + 16 * t + i] = other[i];
}

TEST(Ptx, CopiesArriveAndTheRestIsZero) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  std::vector<int32_t> words(128);
  for (int i = 0; i < 128; ++i)
    words[i] = static_cast<int32_t>(0x01010101u * (1u + static_cast<uint32_t>(i)) + 0x00020406u);
  const Tensor in = Tensor::from<int32_t>({128}, words).to(device, Purpose::Data),
               out = Tensor::zeros({256}, DType::I32, device);
  GTA_LAUNCH(copy_kernel, dim3(1), dim3(32), 0, stream_of(device),
             reinterpret_cast<const unsigned char*>(in.data<int32_t>()),
             reinterpret_cast<unsigned char*>(out.data<int32_t>()));
  const std::vector<int32_t> got = out.to_vector<int32_t>();
  const auto* const from = reinterpret_cast<const unsigned char*>(words.data());
  const auto* const to = reinterpret_cast<const unsigned char*>(got.data());
  for (int t = 0; t < 32; ++t)
    for (int i = 0; i < 16; ++i) {
      EXPECT_EQ(to[16 * t + i], i < t % 17 ? from[16 * t + i] : 0) << "thread " << t << " byte " << i;
      EXPECT_EQ(to[512 + 16 * t + i], from[16 * t + i]) << "thread " << t << " byte " << i << " of the second group";
    }
}

__global__ void exp2_kernel(const float* in, float* out, int count) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) out[i] = ptx::exp2_approx(in[i]);
}

TEST(Ptx, Exp2IsNearAndHasItsLimits) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  std::vector<float> x = {0, -INFINITY, -126, 1, -1, 0.5f, -0.001f, 127};
  for (int i = 0; i < 500; ++i) x.push_back(-50.0f + 0.171f * static_cast<float>(i));
  const int count = static_cast<int>(x.size());
  const Tensor in = Tensor::from<float>({count}, x).to(device, Purpose::Data),
               out = Tensor::zeros({count}, DType::F32, device);
  GTA_LAUNCH(exp2_kernel, dim3(1), dim3(128), 0, stream_of(device), in.data<float>(), out.data<float>(), count);
  const std::vector<float> y = out.to_vector<float>();
  for (int i = 0; i < count; ++i) {
    const double expected = std::exp2(static_cast<double>(x[i]));
    EXPECT_NEAR(y[i], expected, 5e-7 * expected) << "2^" << x[i];  // two units of 2^-22
  }
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 0.0f);
}

__global__ void sums_kernel(const float* in, float* out) {
  const float x = in[threadIdx.x];
  out[threadIdx.x] = warp_sum(x);
  out[256 + threadIdx.x] = warp_max(x);
  out[512 + threadIdx.x] = warp_sum<16>(x);
  out[768 + threadIdx.x] = warp_max<16>(x);
}

TEST(Ptx, SumsOfWarpsAndOfTheirHalves) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  std::vector<float> x(256);
  for (int i = 0; i < 256; ++i) x[i] = static_cast<float>(i * 29 % 101 - 50);
  const Tensor in = Tensor::from<float>({256}, x).to(device, Purpose::Data),
               out = Tensor::zeros({1024}, DType::F32, device);
  GTA_LAUNCH(sums_kernel, dim3(1), dim3(256), 0, stream_of(device), in.data<float>(), out.data<float>());
  const std::vector<float> got = out.to_vector<float>();
  for (int i = 0; i < 256; ++i)
    for (int lanes : {32, 16}) {
      const auto begin = x.begin() + i / lanes * lanes;
      const int at = lanes == 32 ? i : 512 + i;
      EXPECT_EQ(got[at], std::accumulate(begin, begin + lanes, 0.0f));
      EXPECT_EQ(got[at + 256], *std::max_element(begin, begin + lanes));
    }
}

}  // namespace
}  // namespace gta::cuda
