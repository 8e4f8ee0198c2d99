#include "checkpoints/saver.h"

#include <gtest/gtest.h>

#include <fstream>

#include "checkpoints/writer.h"
#include "core/io/file.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

void save_steps(const std::string& directory, const std::vector<int64_t>& steps) {
  const OwnedState owned(1);
  for (int64_t step : steps) write_checkpoint(directory, training_state(owned, step, 1));
}

void damage(const std::string& checkpoint) { std::ofstream(checkpoint + "/manifest.json") << "damaged"; }

TEST(PruneCheckpoints, keepsTheNewestAndTheMultiples) {
  TemporaryFolder folder;
  save_steps(folder.path(), {100, 150, 200, 250, 300, 350});
  prune_checkpoints(folder.path(), 2, 100);
  EXPECT_EQ(list_directory(folder.path()),
            (std::vector<std::string>{"latest", "step-00000100", "step-00000200", "step-00000300", "step-00000350"}));
  prune_checkpoints(folder.path(), 2, 0);
  EXPECT_EQ(list_checkpoints(folder.path()), (std::vector<std::string>{"step-00000300", "step-00000350"}));
  prune_checkpoints(folder.path(), 0, 0);  // never the last one
  EXPECT_EQ(list_checkpoints(folder.path()), (std::vector<std::string>{"step-00000350"}));
}

TEST(PruneCheckpoints, removesNothingWhenTheNewestIsDamaged) {
  TemporaryFolder folder;
  save_steps(folder.path(), {1, 2, 3});
  damage(folder.path() + "/step-00000003");
  EXPECT_THROW(prune_checkpoints(folder.path(), 1, 0), Error);
  EXPECT_EQ(list_checkpoints(folder.path()).size(), 3u);
}

TEST(PruneCheckpoints, removesLeftoversOfInterruptedWriters) {
  TemporaryFolder folder;
  save_steps(folder.path(), {1, 2});
  std::filesystem::create_directories(folder.path() + "/.tmp-step-00000003/deep");
  std::ofstream(folder.path() + "/.tmp-step-00000003/rank-0000-of-0001.h5") << "half";
  std::filesystem::create_directories(folder.path() + "/step-00000001.replaced");
  prune_checkpoints(folder.path(), 5, 0);
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{"latest", "step-00000001", "step-00000002"}));
}

TEST(PruneCheckpoints, leavesFilesThatAreNotItsOwn) {
  TemporaryFolder folder;
  save_steps(folder.path(), {1, 2});
  std::ofstream(folder.path() + "/notes.txt") << "mine";
  std::filesystem::create_directories(folder.path() + "/step-best");
  prune_checkpoints(folder.path(), 1, 0);
  EXPECT_EQ(list_directory(folder.path()),
            (std::vector<std::string>{"latest", "notes.txt", "step-00000002", "step-best"}));
}

class CheckpointSaverModes : public testing::TestWithParam<bool> {};

TEST_P(CheckpointSaverModes, savesWhatTheStateWasWhenAsked) {
  TemporaryFolder folder;
  CheckpointSaver saver(folder.path(), 2, 0, GetParam());
  for (int64_t step = 1; step <= 4; ++step) {
    const OwnedState owned(static_cast<uint64_t>(step));
    saver.save(training_state(owned, step, static_cast<uint64_t>(step)));
    // Training overwrites its memory, and here even frees it.
    saver.before_update();
    for (const StateRange& range : owned.ranges()) std::memset(range.data, 0xff, static_cast<size_t>(range.bytes()));
  }
  EXPECT_TRUE(saver.finish());
  EXPECT_FALSE(saver.failed());
  EXPECT_GT(saver.last_seconds(), 0);
  EXPECT_EQ(list_checkpoints(folder.path()), (std::vector<std::string>{"step-00000003", "step-00000004"}));
  EXPECT_TRUE(holds(folder.path() + "/step-00000003", 3, 3));
  EXPECT_TRUE(holds(folder.path() + "/step-00000004", 4, 4));
}

TEST_P(CheckpointSaverModes, aFailedSaveIsReportedAndALaterOneSucceeds) {
  TemporaryFolder folder;
  const std::string directory = folder.path() + "/checkpoints";
  std::ofstream(directory) << "a file where the folder should be";
  const OwnedState owned(3);
  CheckpointSaver saver(directory, 2, 0, GetParam());
  testing::internal::CaptureStderr();
  saver.save(training_state(owned, 1, 3));
  EXPECT_FALSE(saver.finish());
  EXPECT_TRUE(saver.failed());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("warning: the checkpoint of step 1 could not be saved: [" + directory), std::string::npos)
      << said;
  std::filesystem::remove(directory);
  saver.save(training_state(owned, 2, 3));
  EXPECT_TRUE(saver.finish());
  EXPECT_FALSE(saver.failed());
  EXPECT_TRUE(holds(directory + "/step-00000002", 2, 3));
}

TEST_P(CheckpointSaverModes, aWarningSaysWhatIsOnDisk) {
  TemporaryFolder folder;
  bool refuse = true;
  PieceOptions options;
  options.before_read = [&](int64_t) {
    if (refuse) throw std::bad_alloc();
  };
  const OwnedState owned(3);
  CheckpointSaver saver(folder.path(), 2, 0, GetParam(), options);
  const auto said_by_step = [&](int64_t step) {
    testing::internal::CaptureStderr();
    saver.save(training_state(owned, step, 3));
    saver.finish();
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said_by_step(1),
            "gta: warning: the checkpoint of step 1 could not be saved: the system has no memory left; none is on "
            "disk\n");
  refuse = false;
  EXPECT_EQ(said_by_step(2), "");
  refuse = true;
  EXPECT_EQ(said_by_step(3),
            "gta: warning: the checkpoint of step 3 could not be saved: the system has no memory left; the newest on "
            "disk is step-00000002\n");
}

// Under its old name another run may begin.
TEST_P(CheckpointSaverModes, aRunsFolderThatWasRenamedIsNotMadeAgain) {
  TemporaryFolder folder;
  const std::string run = folder.path() + "/run", moved = folder.path() + "/moved";
  make_directories(run);
  const OwnedState owned(3);
  CheckpointSaver saver(run + "/checkpoints", 2, 0, GetParam());
  rename_path(run, moved);
  saver.save(training_state(owned, 1, 3));
  EXPECT_FALSE(saver.finish());
  EXPECT_FALSE(exists(run));
  EXPECT_EQ(saver.last_saved_step(), -1);
  saver.save_to(moved + "/checkpoints");
  saver.save(training_state(owned, 2, 3));
  EXPECT_TRUE(saver.finish());
  EXPECT_EQ(saver.last_saved_step(), 2);
  EXPECT_TRUE(holds(moved + "/checkpoints/step-00000002", 2, 3));
}

TEST_P(CheckpointSaverModes, olderOnesStayWithAWarningWhenTheNewestIsDamaged) {
  TemporaryFolder folder;
  save_steps(folder.path(), {1, 2, 9});
  damage(folder.path() + "/step-00000009");
  const OwnedState owned(3);
  CheckpointSaver saver(folder.path(), 1, 0, GetParam());
  testing::internal::CaptureStderr();
  saver.save(training_state(owned, 3, 3));
  EXPECT_TRUE(saver.finish());
  EXPECT_NE(testing::internal::GetCapturedStderr().find("older checkpoints stay"), std::string::npos);
  EXPECT_EQ(list_checkpoints(folder.path()).size(), 4u);
}

TEST_P(CheckpointSaverModes, theDestructorWaitsForTheSaveInFlight) {
  TemporaryFolder folder;
  const OwnedState owned(3);
  { CheckpointSaver(folder.path(), 1, 0, GetParam()).save(training_state(owned, 5, 3)); }
  EXPECT_TRUE(holds(folder.path() + "/step-00000005", 5, 3));
}

INSTANTIATE_TEST_SUITE_P(Modes, CheckpointSaverModes, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "asynchronous" : "synchronous"); });

}  // namespace
}  // namespace gta
