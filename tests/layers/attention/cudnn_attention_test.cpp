// The core's CUDA kernels against cuDNN's attention; and, without a GPU, which of the core's shapes cuDNN plans for an
// A100 and an H100.
#include <dlfcn.h>

#include "bench/cudnn_attention.h"
#include "core/measure/random_tensor.h"
#include "tests/cuda_device.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

// ---- which shapes cuDNN has ----

// In cuDNN's words for a device; what A100 and H100 share, or what no plan depends on, is written out.
CudnnGpu gpu(int compute_capability, int multiprocessors, int64_t shared_bytes, int64_t l2_bytes, const char* name) {
  return {compute_capability,
          fmt::format(
              R"({{"cudaDeviceId": 0, "deviceName": "{}", "deviceVer": {}, "driverVer": 13000, "isTccDriver": 0,
                 "l2CacheSize": {}, "maxBlockSize": [1024, 1024, 64], "maxCtasPerSM": 32, "maxGridSize": [2147483647,
                 65535, 65535], "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152,
                 "maxSharedMemoryPerBlockOptin": {}, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048,
                 "memClockRateKHz": 1593000, "multiProcessorCount": {}, "pciDeviceId": 0, "regsPerBlock": 65536,
                 "reservedSharedMemoryPerBlock": 1024, "smClockRateKHz": 1410000, "supportCoopLaunch": 1,
                 "totalGlobalMem": 80000000000, "warpSize": 32}})",
              name, compute_capability * 10, l2_bytes, shared_bytes, multiprocessors)};
}
const CudnnGpu kGpus[] = {gpu(80, 108, 166912, 40 << 20, "NVIDIA A100-SXM4-80GB"),
                          gpu(90, 132, 232448, 50 << 20, "NVIDIA H100 80GB HBM3")};

struct HeadDims {
  int64_t k, v;
};
constexpr HeadDims kTiledDims[] = {{64, 64}, {64, 128}, {64, 256}, {96, 64}, {128, 128}};
struct Heads {
  int64_t query, key, value;
};
struct Lengths {
  int64_t queries, keys;
};

// What only backward on GPUs before Hopper does not have.
bool has_backward(int compute_capability, const HeadDims& d) {
  return compute_capability >= 90 || std::max(d.k, d.v) <= 128;
}

// Slices of wider rows, as the merged projection hands them to the core.
Tensor slice(const char* name, int64_t rows, int64_t columns, Device device) {
  const Tensor wide = device.type == DeviceType::Meta ? Tensor::empty({rows, columns + 24}, DType::BF16, device)
                                                      : random_tensor(name, {rows, columns + 24}, DType::BF16, device);
  return wide.column_slice(8, columns);
}

AttentionBackward call(const Heads& h, const HeadDims& d, const Lengths& n, int64_t batch, Device device) {
  // Products of 64 numbers in [-0.5, 0.5) deviate by 2/3: maps with some large entries.
  const AttentionShape shape{batch, h.query, h.key, h.value, d.k, d.v, 2 * 8 / std::sqrt(static_cast<double>(d.k))};
  const int64_t queries = batch * n.queries, keys = batch * n.keys;
  const auto gradient = [&](const char* name, const Tensor& of) {
    return slice(name, of.rows(), of.columns(), device);
  };
  AttentionBackward a;
  a.forward = {shape,
               slice("q", queries, h.query * d.k, device),
               slice("k", keys, h.key * d.k, device),
               slice("v", keys, h.value * d.v, device),
               {},
               slice("u", queries, h.query * d.v, device),
               Tensor::empty({batch * h.query, n.queries}, DType::F32, device)};
  a.d_u = gradient("d_u", a.forward.u);
  a.d_q = gradient("d_q", a.forward.q), a.d_k = gradient("d_k", a.forward.k), a.d_v = gradient("d_v", a.forward.v);
  a.mode_q = a.mode_k = a.mode_v = GradientMode::Overwrite;
  return a;
}

std::string name_of(const Heads& h, const HeadDims& d, const Lengths& n) {
  return fmt::format("maps {}/{}/{} of {} and {}, {} queries, {} keys", h.query, h.key, h.value, d.k, d.v, n.queries,
                     n.keys);
}

constexpr Device kNowhere{DeviceType::Meta};

// Planning asks for a driver by name, not for a GPU: the toolkit's stub of it will do.
bool has_driver() {
  static void* const driver = [] {
    void* const real = dlopen("libcuda.so.1", RTLD_NOW);
    return real ? real : dlopen(GTA_CUDA_DRIVER_STUB, RTLD_NOW);
  }();
  return driver != nullptr;
}
#define GTA_NEEDS_CUDNN()                                                         \
  if (const std::string why = cudnn_absence(); !why.empty()) GTEST_SKIP() << why; \
  if (!has_driver()) GTEST_SKIP() << "there is neither a CUDA driver nor the toolkit's stub of one"

TEST(CudnnAttention, PlansTheCoresShapesForA100AndH100) {
  GTA_NEEDS_CUDNN();
  for (const CudnnGpu& on : kGpus)
    for (const HeadDims& d : kTiledDims)
      for (const Heads& h : {Heads{4, 4, 4}, Heads{4, 2, 2}, Heads{20, 1, 1}, Heads{6, 2, 3}, Heads{4, 4, 1}})
        for (const Lengths& n : {Lengths{2048, 2048}, Lengths{70, 70}, Lengths{33, 150}}) {
          const AttentionBackward a = call(h, d, n, 2, kNowhere);
          SCOPED_TRACE(fmt::format("compute capability {}, {}", on.compute_capability, name_of(h, d, n)));
          EXPECT_EQ(cudnn_refusal(a.forward, &on), "");
          const std::string backward = cudnn_refusal(a, &on);
          EXPECT_EQ(backward.empty(), has_backward(on.compute_capability, d)) << backward;
        }
}

TEST(CudnnAttention, RefusalsSayWhy) {
  GTA_NEEDS_CUDNN();
  const auto refusal = [](auto change, const HeadDims& d = {64, 64}) {
    AttentionBackward a = call({4, 2, 2}, d, {128, 128}, 1, kNowhere);
    change(a);
    return cudnn_refusal(a, &kGpus[1]);
  };
  const auto expect = [](const std::string& refusal, const char* words) {
    EXPECT_NE(refusal.find(words), std::string::npos) << refusal;
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  expect(refusal([](auto& a) { a.forward.document_starts = Tensor::empty({128}, DType::I32, kNowhere); }), "document");
  expect(refusal([](auto& a) { a.forward.q = Tensor::empty({128, 256}, DType::F32, kNowhere); }), "bfloat16");
  expect(refusal([](auto& a) { a.forward.logsumexp = Tensor::empty({128, 4}, DType::F32, kNowhere); }), "(4, 128)");
  expect(refusal([](auto& a) { a.mode_k = GradientMode::Accumulate; }), "overwrites");
  // In cuDNN's words:
  expect(refusal([](auto&) {}, {320, 64}), "256");
  expect(refusal([](auto& a) {
           a.forward.q = Tensor::empty({128, 260}, DType::BF16, kNowhere).column_slice(0, 256);
         }),
         "alignment");
}

// ---- the same numbers ----

TEST(CudnnAttention, CudaKernelsAgreeWithCudnn) {
  GTA_NEEDS_CUDA();
  GTA_NEEDS_CUDNN();
  const Device device = *cuda_device();
  for (const HeadDims& d : kTiledDims)
    for (const auto& [h, n, batch] : {std::tuple{Heads{4, 2, 2}, Lengths{70, 70}, 2},
                                      {Heads{2, 2, 2}, Lengths{129, 129}, 1},
                                      {Heads{6, 2, 3}, Lengths{33, 150}, 1},
                                      {Heads{20, 1, 1}, Lengths{512, 512}, 2}}) {
      SCOPED_TRACE(name_of(h, d, n));
      const AttentionBackward theirs = call(h, d, n, batch, device);
      AttentionBackward ours = call(h, d, n, batch, device);
      ours.forward.logsumexp = Tensor::empty({batch * n.queries, h.query}, DType::F32, device);
      GTA_DISPATCH(device, shared_map_attention_forward, ours.forward);
      GTA_DISPATCH(device, shared_map_attention_backward, ours);

      // On these inputs our u is within 0.003 of float64's, our gradients within 0.005: the usual bounds leave cuDNN as
      // much, and a wrong head shows.
      const double bound = OpCase{}.bfloat16_tolerance, gradient_bound = OpCase{}.bfloat16_gradient_tolerance;
      ASSERT_EQ(cudnn_refusal(theirs.forward), "");
      CudnnAttention(theirs.forward).run();
      EXPECT_TRUE(near(to_doubles(ours.forward.u), to_doubles(theirs.forward.u), bound)) << "u";
      std::vector<double> logsumexp(ours.forward.logsumexp.elements());
      const std::vector<double> by_map = to_doubles(theirs.forward.logsumexp);
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t g = 0; g < h.query; ++g)
          for (int64_t i = 0; i < n.queries; ++i)
            logsumexp[(b * n.queries + i) * h.query + g] = by_map[(b * h.query + g) * n.queries + i];
      EXPECT_TRUE(near(to_doubles(ours.forward.logsumexp), logsumexp, 1e-4)) << "logsumexp";  // sums of float32

      if (const std::string refusal = cudnn_refusal(theirs); !refusal.empty()) {
        EXPECT_GT(std::max(d.k, d.v), 128) << refusal;
        continue;
      }
      CudnnAttention(theirs).run();
      EXPECT_TRUE(near(to_doubles(ours.d_q), to_doubles(theirs.d_q), gradient_bound)) << "d_q";
      EXPECT_TRUE(near(to_doubles(ours.d_k), to_doubles(theirs.d_k), gradient_bound)) << "d_k";
      EXPECT_TRUE(near(to_doubles(ours.d_v), to_doubles(theirs.d_v), gradient_bound)) << "d_v";
    }
}

}  // namespace
}  // namespace gta::testing
