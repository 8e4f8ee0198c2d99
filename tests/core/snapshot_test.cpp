// Copies to pinned memory beside the compute stream: of the moment that was asked for, whatever the device still had to
// do and whatever it was given next.
#include "core/backends/snapshot.h"

#include <cstring>
#include <numeric>

#include "core/tensor.h"
#include "tests/cuda_device.h"
#ifdef GTA_CUDA_ON_HOST
#include "tests/host_cuda/waits.h"
#endif

namespace gta {
namespace {

constexpr int64_t kElements = int64_t{1} << 20, kBytes = 4 * kElements, kPieces = 16, kPieceBytes = kBytes / kPieces;

std::vector<float> counted(float first) {
  std::vector<float> values(kElements);
  std::iota(values.begin(), values.end(), first);
  return values;
}

TEST(Snapshot, IsForDevicesWhoseMemoryTheHostDoesNotRead) {
  EXPECT_EQ(GTA_DISPATCH(Device{}, make_snapshot, Device{}, 4096), nullptr);
}

TEST(Snapshot, CudaCopiesAreOfItsMoment) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const Tensor state = Tensor::zeros({kElements}, DType::F32, device, Purpose::Data);
  const auto snapshot = GTA_DISPATCH(device, make_snapshot, device, kBytes);
  ASSERT_NE(snapshot, nullptr);
  EXPECT_EQ(snapshot->bytes(), kBytes);
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> expected = counted(static_cast<float>(round));
    state.copy_from(Tensor::from<float>({kElements}, expected));  // queued
    snapshot->follow_compute();
    std::vector<std::unique_ptr<HostCopyInFlight>> copies(kPieces);
    for (int64_t i = kPieces - 1; i >= 0; --i)
      copies[i] =
          snapshot->begin(static_cast<const char*>(state.raw_data()) + i * kPieceBytes, i * kPieceBytes, kPieceBytes);
    snapshot->hold_compute();
    state.fill_zero();
    GTA_DISPATCH(device, synchronize, Stream{device});
    for (int64_t i = 0; i < kPieces; ++i)
      ASSERT_EQ(
          std::memcmp(copies[i]->wait(), reinterpret_cast<const char*>(expected.data()) + i * kPieceBytes, kPieceBytes),
          0)
          << "round " << round << ", piece " << i;
  }
}

#ifdef GTA_CUDA_ON_HOST
TEST(Snapshot, CudaHostWaitsForNoneOfIt) {
  const Device device = *cuda_device();
  const Tensor state = Tensor::zeros({kElements}, DType::F32, device, Purpose::Data);
  const auto snapshot = GTA_DISPATCH(device, make_snapshot, device, kBytes);
  const host_cuda::Waits before = host_cuda::waits();
  snapshot->follow_compute();
  const auto copy = snapshot->begin(state.raw_data(), 0, kBytes);
  snapshot->hold_compute();
  EXPECT_EQ(host_cuda::waits().whole, before.whole);
  EXPECT_EQ(host_cuda::waits().events, before.events);
}
#endif

}  // namespace
}  // namespace gta
