// A start of a run that is overtaken by a later one while it saves: from the moment on that it is told so, nothing in
// the folder changes but what it had begun under names of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>

#include "checkpoints/saver.h"
#include "checkpoints/writer.h"
#include "core/error.h"
#include "core/io/file.h"
#include "tests/checkpoints/as_ranks.h"
#include "tests/checkpoints/test_state.h"
#include "tests/folder_content.h"

namespace gta {
namespace {

using test::content_of, test::expect_fine, test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

using Names = std::vector<std::string>;
using Content = std::map<std::string, std::string>;

constexpr int64_t kStart = 7, kStep = 5;
constexpr const char* kOfALaterStart = ".tmp-step-00000005.start-8";

// Without the temporary names of this start.
Content of_others(Content content) {
  std::erase_if(content, [](const auto& file) { return file.first.find(".start-7") != std::string::npos; });
  return content;
}

struct Mode {
  int64_t ranks;
  bool asynchronous;
};
class Overtaken : public testing::TestWithParam<Mode> {
 protected:
  // Saves a step over three older ones, of which the save removes two, and is overtaken at the given question. Whether
  // it came to that.
  bool save(int64_t question) {
    const TemporaryFolder folder;
    const std::string directory = folder.path() + "/checkpoints";
    for (int64_t step : {1, 2, 3}) {
      const OwnedState old(static_cast<uint64_t>(step));
      write_checkpoint(directory, training_state(old, step, static_cast<uint64_t>(step)));
    }
    for (const std::string left : {".tmp-step-00000005", ".tmp-step-00000005.start-6", ".tmp-latest.start-5",
                                   ".tmp-removed-step-00000001.start-x", kOfALaterStart}) {
      make_directories(directory + "/" + left);
      publish_text(directory + "/" + left + "/rank-0000-of-0001.h5", "half");
    }
    const std::string when = fmt::format("question {}", question);
    std::atomic<int64_t> asked = 0;
    std::mutex mutex;
    bool overtaken = false;
    Content then;
    WritePermit permit;
    permit.start = kStart;
    permit.check = [&] {
      const std::lock_guard lock(mutex);
      if (++asked == question) {
        overtaken = true;
        then = of_others(content_of(directory));
      }
      if (overtaken) fail("run", "another start has taken over");
    };
    testing::internal::CaptureStderr();
    expect_fine(GetParam().ranks, [&](Communicator& comm) {
      CheckpointSaver saver(directory, 2, 0, GetParam().asynchronous, {}, &comm, permit);
      const OwnedState owned(kStep);
      TrainingState state = training_state(owned, kStep, kStep);
      const auto cut = [&](int64_t rank) { return static_cast<double>(rank) / static_cast<double>(comm.ranks()); };
      state.ranges = owned.share(cut(comm.rank()), cut(comm.rank() + 1));
      saver.save(state);
      saver.finish();
    });
    testing::internal::GetCapturedStderr();
    if (overtaken) {
      EXPECT_TRUE(content_of(directory) == then) << when << ": what others made is as it was, and its own is gone";
    } else {
      EXPECT_EQ(list_directory(directory), (Names{kOfALaterStart, "latest", "step-00000003", "step-00000005"}));
    }
    for (const std::string& name : list_checkpoints(directory))
      EXPECT_TRUE(holds(directory + "/" + name, step_of(name), static_cast<uint64_t>(step_of(name)))) << when << name;
    EXPECT_TRUE(exists(directory + "/" + kOfALaterStart + "/rank-0000-of-0001.h5")) << when;
    EXPECT_TRUE(exists(directory + "/step-00000003")) << when;
    return overtaken;
  }
};
INSTANTIATE_TEST_SUITE_P(, Overtaken,
                         testing::Values(Mode{1, true}, Mode{1, false}, Mode{2, true}, Mode{3, true}, Mode{3, false}),
                         [](const auto& info) {
                           return fmt::format("{}{}", info.param.ranks,
                                              info.param.asynchronous ? "asynchronous" : "synchronous");
                         });

TEST_P(Overtaken, ASaveChangesNothingFromWhateverMomentOn) {
  int64_t question = 1;
  while (save(question)) ++question;
  // To prepare, before and behind each file, to publish, for latest, for each of two that go, for leftovers.
  EXPECT_EQ(question - 1, 1 + 2 * GetParam().ranks + 1 + 1 + 2 + 1);
}

// Both are at the same step, and the older one has been allowed what it does just before the later one does the same.
TEST(OvertakenBetweenTwoCalls, OfTwoStartsAtTheSameStepEachCheckpointIsWholeAndOfOneMoment) {
  const TemporaryFolder folder;
  const std::string& directory = folder.path();
  const OwnedState old(1), late(2);
  const WritePermit first{.start = 1}, second{.start = 2};
  const auto file_of = [&](const std::string& of, const OwnedState& owned, uint64_t seed) {
    return test::write_files(of, owned, 9, seed, {0, 0.5, 1});
  };
  const std::string of_old = prepare(directory, 9, 1);
  const std::vector<RankFile> old_files = file_of(of_old, old, 1);
  const std::string of_late = prepare(directory, 9, 2);
  EXPECT_NE(of_old, of_late);
  EXPECT_FALSE(exists(of_old)) << "the later start removes it";
  const std::vector<RankFile> late_files = file_of(of_late, late, 2);
  const TrainingState old_state = training_state(old, 9, 1), late_state = training_state(late, 9, 2);
  EXPECT_THROW(publish(of_old, old_state.position, old_state.config_yaml, old_files, first), Error);
  publish(of_late, late_state.position, late_state.config_yaml, late_files, second);
  EXPECT_TRUE(holds(directory + "/latest", 9, 2));

  // As when it is stopped just before its rename.
  const std::string again = prepare(directory, 9, 1);
  publish(again, old_state.position, old_state.config_yaml, file_of(again, old, 1), first);
  EXPECT_TRUE(holds(directory + "/latest", 9, 1));
  EXPECT_EQ(list_directory(directory), (Names{"latest", "step-00000009"}));
  EXPECT_THROW(publish(again, old_state.position, old_state.config_yaml, old_files, second), Error);
}

}  // namespace
}  // namespace gta
