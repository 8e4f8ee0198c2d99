// A save from memory that changes: whatever the writer is doing when the update comes, the checkpoint is the one that a
// synchronous save writes, bit for bit; only what is not written by then is copied; and a failure on either thread
// costs the save alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#include "checkpoints/manifest.h"
#include "checkpoints/saver.h"
#include "checkpoints/state_pieces.h"
#include "checkpoints/writer.h"
#include "core/error.h"
#include "core/io/file.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

constexpr int64_t kPieceBytes = 512;  // matrices of 2112 bytes: whole pieces and a tail
constexpr uint64_t kSeed = 5;

// Something that one thread waits for and another brings about.
class Event {
 public:
  void happen() {
    {
      std::lock_guard lock(mutex_);
      happened_ = true;
    }
    changed_.notify_all();
  }
  // Whether it happened in time: a save that waits for an update which waits for the save must fail the test, not hang
  // it.
  bool wait(std::chrono::milliseconds longest = std::chrono::seconds(30)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, longest, [&] { return happened_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;
};

PieceOptions pieces_of(int64_t bytes) {
  PieceOptions options;
  options.bytes = bytes;
  return options;
}

std::vector<int64_t> piece_sizes() {
  const OwnedState owned(kSeed);
  std::vector<int64_t> sizes;
  for (const StateRange& range : owned.ranges())
    for (int64_t done = 0; done < range.bytes(); done += kPieceBytes)
      sizes.push_back(std::min(kPieceBytes, range.bytes() - done));
  return sizes;
}
int64_t bytes_from(int64_t piece) {
  const std::vector<int64_t> sizes = piece_sizes();
  int64_t sum = 0;
  for (size_t i = static_cast<size_t>(piece); i < sizes.size(); ++i) sum += sizes[i];
  return sum;
}
int64_t piece_count() { return static_cast<int64_t>(piece_sizes().size()); }

void update(const OwnedState& owned) {
  for (const StateRange& range : owned.ranges()) std::memset(range.data, 0xff, static_cast<size_t>(range.bytes()));
}

// The same entries, and the same bytes in their places.
void expect_same_checkpoint(const std::string& directory, const std::string& expected, const std::string& when) {
  const auto manifest = [](const std::string& path) {
    return parse_manifest(read_file(path + "/step-00000002/manifest.json"), path);
  };
  const auto rank_file = [](const std::string& path) {
    return read_file(path + "/step-00000002/rank-0000-of-0001.h5");
  };
  const Manifest found = manifest(directory), wanted = manifest(expected);
  const std::string found_bytes = rank_file(directory), wanted_bytes = rank_file(expected);
  ASSERT_EQ(found_bytes.size(), wanted_bytes.size()) << when;
  ASSERT_EQ(found.entries.size(), wanted.entries.size()) << when;
  for (size_t i = 0; i < wanted.entries.size(); ++i) {
    const ManifestEntry &a = found.entries[i], &b = wanted.entries[i];
    EXPECT_TRUE(a.part == b.part && a.parameter == b.parameter && a.offset == b.offset && a.bytes() == b.bytes())
        << when << " " << b.part;
    EXPECT_EQ(a.hash, b.hash) << when << " " << b.part << " " << b.parameter;
    EXPECT_EQ(found_bytes.compare(static_cast<size_t>(b.offset), static_cast<size_t>(b.bytes()), wanted_bytes,
                                  static_cast<size_t>(b.offset), static_cast<size_t>(b.bytes())),
              0)
        << when << " " << b.part << " " << b.parameter;
  }
  EXPECT_TRUE(holds(directory + "/step-00000002", 2, kSeed)) << when;
}

class StagedSave : public testing::Test {
 protected:
  StagedSave() : directory_(folder_.path() + "/asynchronous"), synchronous_(folder_.path() + "/synchronous") {
    const OwnedState old(1), owned(kSeed);
    write_checkpoint(directory_, training_state(old, 1, 1));
    write_checkpoint(synchronous_, training_state(owned, 2, kSeed));
  }

  TemporaryFolder folder_;
  std::string directory_, synchronous_;
};

TEST_F(StagedSave, anUpdateBeforeAnyPieceIsReadLeavesTheSaveAsItWas) {
  for (int64_t stop = 0; stop < piece_count(); ++stop) {
    const std::string when = fmt::format("the writer stands before piece {}", stop);
    const OwnedState owned(kSeed);
    Event stands, updated;
    std::atomic<int64_t> copies = 0;
    PieceOptions options = pieces_of(kPieceBytes);
    options.before_read = [&](int64_t piece) {
      if (piece != stop) return;
      stands.happen();
      EXPECT_TRUE(updated.wait()) << when << ": before_update() waited for a piece that nobody reads";
    };
    options.before_copy = [&](int64_t) { ++copies; };
    CheckpointSaver saver(directory_, 2, 0, true, options);
    saver.save(training_state(owned, 2, kSeed));
    ASSERT_TRUE(stands.wait()) << when;
    for (int again = 0; again < 2; ++again) {  // the writer may be slower than several updates
      saver.before_update();
      update(owned);
      EXPECT_EQ(copies, piece_count() - stop) << when;
      EXPECT_EQ(saver.staged_bytes(), bytes_from(stop)) << when;
    }
    updated.happen();
    EXPECT_TRUE(saver.finish()) << when;
    EXPECT_EQ(saver.staged_bytes(), 0) << when;
    expect_same_checkpoint(directory_, synchronous_, when);
  }
}

TEST_F(StagedSave, anUpdateWhileAnyPieceIsReadWaitsForThatPiece) {
  for (int64_t stop = 0; stop < piece_count(); ++stop) {
    const std::string when = fmt::format("the writer reads piece {}", stop);
    const OwnedState owned(kSeed);
    Event reads, copied, updated;
    std::atomic<int64_t> copies = 0;
    PieceOptions options = pieces_of(kPieceBytes);
    options.while_read = [&](int64_t piece) {
      if (piece != stop) return;
      reads.happen();
      if (stop + 1 < piece_count()) {
        EXPECT_TRUE(copied.wait()) << when;
      }
      EXPECT_FALSE(updated.wait(std::chrono::milliseconds(20))) << when << ": before_update() returned";
    };
    options.before_copy = [&](int64_t piece) {
      ++copies;
      if (piece == stop + 1) copied.happen();
    };
    CheckpointSaver saver(directory_, 2, 0, true, options);
    saver.save(training_state(owned, 2, kSeed));
    ASSERT_TRUE(reads.wait()) << when;
    saver.before_update();
    update(owned);
    updated.happen();
    EXPECT_EQ(copies, piece_count() - stop - 1) << when;
    EXPECT_TRUE(saver.finish()) << when;
    expect_same_checkpoint(directory_, synchronous_, when);
  }
}

TEST_F(StagedSave, theWriterGoesOnWhileTheUpdateCopies) {
  // Copies are made from the end: the writer, who comes from the front, leaves the first half to nobody but himself.
  const OwnedState owned(kSeed);
  const int64_t half = piece_count() / 2;
  Event copying, written;
  std::atomic<int64_t> copies = 0;
  std::atomic<bool> copy_begins = false;
  PieceOptions options = pieces_of(kPieceBytes);
  options.before_read = [&](int64_t piece) {
    if (piece == 0) {
      EXPECT_TRUE(copying.wait());
    }
    if (piece == half) written.happen();
  };
  options.while_read = [&](int64_t piece) {
    if (piece == half) {
      EXPECT_TRUE(copy_begins) << "a piece that was being copied was read in place";
    }
  };
  options.before_copy = [&](int64_t piece) {
    ++copies;
    if (piece != half) return;
    copying.happen();
    EXPECT_TRUE(written.wait()) << "the writer waited for copies of pieces that were still his";
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time for the writer to take what he must not
    copy_begins = true;
  };
  CheckpointSaver saver(directory_, 2, 0, true, options);
  saver.save(training_state(owned, 2, kSeed));
  saver.before_update();
  update(owned);
  EXPECT_TRUE(saver.finish());
  EXPECT_EQ(copies, piece_count() - half);
  expect_same_checkpoint(directory_, synchronous_, "half of the pieces copied");
}

TEST_F(StagedSave, aFastWriterLeavesNothingToCopy) {
  const OwnedState owned(kSeed);
  std::atomic<int64_t> copies = 0;
  PieceOptions options = pieces_of(kPieceBytes);
  options.before_copy = [&](int64_t) { ++copies; };
  CheckpointSaver saver(directory_, 2, 0, true, options);
  saver.save(training_state(owned, 2, kSeed));
  EXPECT_TRUE(saver.finish());
  saver.before_update();
  update(owned);
  EXPECT_EQ(copies, 0);
  EXPECT_EQ(saver.staged_bytes(), 0);
  expect_same_checkpoint(directory_, synchronous_, "a fast writer");
}

TEST_F(StagedSave, saveAfterSaveHoldsItsOwnStateWhereverTheUpdateFalls) {
  constexpr int64_t kSaves = 40;
  const OwnedState owned(kSeed);

  CheckpointSaver saver(directory_, kSaves, 0, true, pieces_of(64));
  for (int64_t step = 1; step <= kSaves; ++step) {
    const auto seed = static_cast<uint64_t>(step);
    const OwnedState next(seed);
    for (size_t i = 0; i < next.bytes().size(); ++i)
      std::memcpy(owned.ranges()[i].data, next.bytes()[i].data(), next.bytes()[i].size());
    saver.save(training_state(owned, step, seed));
    if (step % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100 * step));  // forward and backward
    saver.before_update();
  }
  EXPECT_TRUE(saver.finish());
  for (int64_t step = 1; step <= kSaves; ++step)
    EXPECT_TRUE(holds(directory_ + "/" + checkpoint_name(step), step, static_cast<uint64_t>(step))) << step;
}

TEST_F(StagedSave, withoutACopyTheSaveIsGivenUpAndTrainingGoesOn) {
  for (int64_t refused = 1; refused < 2 * piece_count(); ++refused)
    for (bool reading : {false, true}) {
      if (refused == piece_count()) continue;
      const bool device = refused > piece_count();
      const int64_t failing = refused % piece_count();
      const std::string when =
          fmt::format("{} piece {}, the writer {} piece 0", device ? "the device fails at" : "no memory for", failing,
                      reading ? "reads" : "stands before");
      const OwnedState owned(kSeed);
      Event stands, no_memory;
      PieceOptions options = pieces_of(kPieceBytes);
      const auto stop = [&](int64_t piece) {
        if (piece != 0) return;
        stands.happen();
        EXPECT_TRUE(no_memory.wait()) << when;
      };
      (reading ? options.while_read : options.before_read) = stop;
      options.before_copy = [&](int64_t piece) {
        if (piece != failing || no_memory.wait(std::chrono::milliseconds(0))) return;
        no_memory.happen();
        if (device) fail("cuda", "is lost");
        throw std::bad_alloc();
      };
      CheckpointSaver saver(directory_, 2, 0, true, options);
      testing::internal::CaptureStderr();
      saver.save(training_state(owned, 2, kSeed));
      ASSERT_TRUE(stands.wait()) << when;
      saver.before_update();
      EXPECT_EQ(saver.staged_bytes(), 0) << when;
      update(owned);
      EXPECT_FALSE(saver.finish()) << when;
      EXPECT_TRUE(saver.failed()) << when;
      const std::string said = testing::internal::GetCapturedStderr();
      EXPECT_NE(said.find(fmt::format("warning: the checkpoint of step 2 could not be saved: [checkpoint] {}: ",
                                      device ? "[cuda] is lost" : "there was no memory for a copy")),
                std::string::npos)
          << when << said;
      EXPECT_EQ(list_directory(directory_), (std::vector<std::string>{"latest", "step-00000001"})) << when;
      EXPECT_TRUE(holds(directory_ + "/latest", 1, 1)) << when;
    }
}

TEST_F(StagedSave, aWriterThatFailsFreesTheCopiesAndTheNextSaveSucceeds) {
  for (int64_t broken = 0; broken < piece_count(); ++broken) {
    const std::string when = fmt::format("the disk fails at piece {}", broken);
    const OwnedState owned(kSeed);
    Event stands, updated;
    std::atomic<bool> disk_works = false;
    PieceOptions options = pieces_of(kPieceBytes);
    options.before_read = [&](int64_t piece) {
      if (piece != broken / 2) return;  // some pieces before the failure are copies, some are not
      stands.happen();
      EXPECT_TRUE(updated.wait()) << when;
    };
    options.while_read = [&](int64_t piece) {
      if (piece == broken && !disk_works) fail("disk", "is broken");
    };
    CheckpointSaver saver(directory_, 2, 0, true, options);
    testing::internal::CaptureStderr();
    saver.save(training_state(owned, 2, kSeed));
    ASSERT_TRUE(stands.wait()) << when;
    saver.before_update();
    updated.happen();
    EXPECT_FALSE(saver.finish()) << when;
    EXPECT_EQ(saver.staged_bytes(), 0) << when;
    EXPECT_NE(testing::internal::GetCapturedStderr().find("[disk] is broken"), std::string::npos) << when;
    EXPECT_TRUE(holds(directory_ + "/latest", 1, 1)) << when;
    saver.before_update();  // nothing is in flight
    disk_works = true;
    saver.save(training_state(owned, 2, kSeed));
    saver.before_update();
    EXPECT_TRUE(saver.finish()) << when;
    expect_same_checkpoint(directory_, synchronous_, when);
    std::filesystem::remove_all(directory_ + "/step-00000002");
    std::filesystem::remove(directory_ + "/latest");
    std::filesystem::create_directory_symlink("step-00000001", directory_ + "/latest");
  }
}

TEST(StatePieces, eachCopyIsFreedAsSoonAsItIsRead) {
  const OwnedState owned(kSeed);
  const std::vector<StateRange> ranges = owned.ranges();
  StatePieces pieces(ranges, pieces_of(kPieceBytes));
  pieces.stage();
  update(owned);
  int64_t piece = 0;
  for (size_t range = 0; range < ranges.size(); ++range)
    pieces.read(range, [&](const char* data, int64_t offset, int64_t bytes) {
      EXPECT_LE(bytes, kPieceBytes);
      EXPECT_EQ(pieces.staged_bytes(), bytes_from(piece)) << piece;
      const OwnedState before(kSeed);
      EXPECT_EQ(std::memcmp(data, before.bytes()[range].data() + offset, static_cast<size_t>(bytes)), 0) << piece;
      ++piece;
    });
  EXPECT_EQ(piece, piece_count());
  EXPECT_EQ(pieces.staged_bytes(), 0);
}

}  // namespace
}  // namespace gta
