// A save from a GPU's memory: the update is queued while the copies are on their way, and waits for them on the device.
// What is saved are the bits of the step, wherever the writer was and however much pinned memory there is.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "checkpoints/saver.h"
#include "checkpoints/writer.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/tensor.h"
#include "tests/checkpoints/test_state.h"
#include "tests/cuda_device.h"
#ifdef GTA_CUDA_ON_HOST
#include "tests/host_cuda/waits.h"
#endif

namespace gta {
namespace {

using test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

constexpr int64_t kPieceBytes = 512;

// The same bits as OwnedState's, on the device.
class DeviceState {
 public:
  explicit DeviceState(const Device& device) : device_(device) {
    const OwnedState like(1);
    for (const StateRange& range : like.ranges())
      memory_.push_back(Tensor::empty({range.bytes()}, DType::U8, device, Purpose::Data));
  }
  // Queued, like all that follows.
  void set(uint64_t seed) const {
    const OwnedState owned(seed);
    for (size_t i = 0; i < memory_.size(); ++i) {
      const auto bytes = static_cast<int64_t>(owned.bytes()[i].size());
      GTA_DISPATCH(device_, copy_from_host, Stream{device_}, memory_[i].raw_data(), bytes, owned.bytes()[i].data(),
                   bytes, 1, bytes);
    }
  }
  void update() const {
    for (const Tensor& memory : memory_) memory.fill_zero();
  }
  // The update is made, with all that it waits for.
  void finish() const { GTA_DISPATCH(device_, synchronize, Stream{device_}); }
  TrainingState state(int64_t step, uint64_t seed) const {
    const OwnedState like(seed);
    TrainingState state = training_state(like, step, seed);
    for (size_t i = 0; i < memory_.size(); ++i) {
      state.ranges[i].data = memory_[i].raw_data();
      state.ranges[i].device = device_;
    }
    return state;
  }

 private:
  Device device_;
  std::vector<Tensor> memory_;
};

class CudaSave : public testing::Test {
 protected:
  void SetUp() override {
    GTA_NEEDS_CUDA();
    state_.emplace(*cuda_device());
  }
  static PieceOptions pieces(int64_t most_pinned = INT64_MAX) {
    PieceOptions options;
    options.bytes = kPieceBytes / 4;
    options.bytes_on_gpu = kPieceBytes;
    options.most_pinned = most_pinned;
    return options;
  }
  static int64_t state_bytes() { return bytes_of(OwnedState(1).ranges()); }
  bool saved(int64_t step, uint64_t seed) const {
    return holds(folder_.path() + "/" + checkpoint_name(step), step, seed);
  }

  TemporaryFolder folder_;
  std::optional<DeviceState> state_;
};

int64_t piece_count() {
  int64_t count = 0;
  for (const StateRange& range : OwnedState(1).ranges()) count += (range.bytes() + kPieceBytes - 1) / kPieceBytes;
  return count;
}

// Whether it came in time: an update that waits for the writer must fail the test, not hang it.
bool comes(std::shared_future<void> what) {
  return what.wait_for(std::chrono::seconds(30)) == std::future_status::ready;
}

TEST_F(CudaSave, HoldsTheStepWhereverTheWriterIsWhenUpdatesAreQueued) {
  for (const int64_t pinned : {state_bytes(), int64_t{10'000}, int64_t{0}})
    for (int64_t stop = 0; stop < piece_count(); ++stop)
      for (const bool reads : {false, true}) {
        if (reads && pinned < state_bytes()) continue;  // where the host waits for the piece that is read
        const auto seed = static_cast<uint64_t>(1 + stop);
        const std::string when =
            fmt::format("{} bytes pinned, the writer {} piece {}", pinned, reads ? "has begun" : "stands before", stop);
        std::promise<void> stands, updated;
        const std::shared_future<void> was_updated = updated.get_future().share();
        PieceOptions options = pieces(pinned);
        (reads ? options.while_read : options.before_read) = [&](int64_t piece) {
          if (piece != stop) return;
          stands.set_value();
          EXPECT_TRUE(comes(was_updated)) << when << ": before_update() waited for the writer";
        };
        testing::internal::CaptureStderr();
        CheckpointSaver saver(folder_.path(), 2, 0, true, options);
        state_->set(seed);
        saver.save(state_->state(2, seed));
        ASSERT_TRUE(comes(stands.get_future().share())) << when;
        for (int step = 0; step < 2; ++step) {  // the disk may be slower than several steps
          saver.before_update();
          state_->update();
          state_->finish();
        }
        updated.set_value();
        EXPECT_TRUE(saver.finish()) << when;
        EXPECT_EQ(saver.staged_bytes(), 0) << when;
        EXPECT_TRUE(saved(2, seed)) << when;
        const std::string said = testing::internal::GetCapturedStderr();
        EXPECT_EQ(said.find("the next update waits for the rest") != std::string::npos, pinned < state_bytes())
            << when << said;
      }
}

TEST_F(CudaSave, SaveAfterSaveInTheSamePinnedMemory) {
  constexpr int64_t kSaves = 30;
  {
    CheckpointSaver saver(folder_.path(), kSaves, 0, true, pieces());
    for (int64_t step = 1; step <= kSaves; ++step) {
      state_->set(static_cast<uint64_t>(step));
      // waits for the one before, which may be a copy still under way
      saver.save(state_->state(step, static_cast<uint64_t>(step)));
      if (step % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200 * step));
      saver.before_update();
      state_->update();
      if (step % 2 == 0) state_->finish();
    }
  }  // a stop: the saver waits for copies and writes
  for (int64_t step = 1; step <= kSaves; ++step) EXPECT_TRUE(saved(step, static_cast<uint64_t>(step))) << step;
}

TEST_F(CudaSave, ADeviceThatFailsDuringCopiesCostsTheSaveAlone) {
  for (int64_t broken = 1; broken < piece_count(); ++broken) {
    const std::string when = fmt::format("the copy of piece {} fails", broken);
    std::promise<void> updated;
    const std::shared_future<void> was_updated = updated.get_future().share();
    bool works = false;
    PieceOptions options = pieces();
    options.while_read = [&](int64_t piece) {
      if (piece != 0) return;
      EXPECT_TRUE(comes(was_updated)) << when;
    };
    options.before_copy = [&](int64_t piece) {
      if (piece == broken && !works)
        throw Error(ErrorKind::Failed, "cuda", "cudaMemcpyAsync: an illegal memory access");
    };
    CheckpointSaver saver(folder_.path(), 1, 0, true, options);
    testing::internal::CaptureStderr();
    state_->set(4);
    saver.save(state_->state(7, 4));
    saver.before_update();
    EXPECT_EQ(saver.staged_bytes(), 0) << when;
    state_->update();
    state_->finish();
    updated.set_value();
    EXPECT_FALSE(saver.finish()) << when;
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("the checkpoint of step 7 could not be saved: [checkpoint] [cuda] cudaMemcpyAsync: an illegal "
                        "memory access"),
              std::string::npos)
        << said;
    works = true;
    state_->set(5);
    saver.save(state_->state(8, 5));
    saver.before_update();
    state_->update();
    EXPECT_TRUE(saver.finish()) << when;
    EXPECT_TRUE(saved(8, 5)) << when;
  }
}

#ifdef GTA_CUDA_ON_HOST
TEST_F(CudaSave, TheHostWaitsForNothingBeforeTheUpdate) {
  std::promise<void> stands, updated;
  const std::shared_future<void> was_updated = updated.get_future().share();
  PieceOptions options = pieces();
  options.while_read = [&](int64_t piece) {
    if (piece != 2) return;
    stands.set_value();
    EXPECT_TRUE(comes(was_updated));
  };
  CheckpointSaver saver(folder_.path(), 1, 0, true, options);
  state_->set(6);
  saver.save(state_->state(3, 6));
  ASSERT_TRUE(comes(stands.get_future().share()));
  const host_cuda::Waits before = host_cuda::waits();
  saver.before_update();
  state_->update();
  const host_cuda::Waits after = host_cuda::waits();
  updated.set_value();
  EXPECT_EQ(after.whole, before.whole);
  EXPECT_EQ(after.events, before.events);
  EXPECT_TRUE(saver.finish());
  EXPECT_TRUE(saved(3, 6));
}
#endif

}  // namespace
}  // namespace gta
