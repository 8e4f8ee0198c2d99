// Several ranks, each a thread with a saver of its own, save one checkpoint beside a training that goes on: it is
// whole, of one moment, and published once; or, when a rank cannot, there is none, on any rank, and the next is good.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <latch>
#include <optional>
#include <thread>

#include "checkpoints/saver.h"
#include "checkpoints/writer.h"
#include "core/io/file.h"
#include "core/tensor.h"
#include "tests/checkpoints/as_ranks.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::as_ranks, test::count, test::expect_fine, test::holds, test::OwnedState, test::said_by,
    test::TemporaryFolder, test::training_state;

using OwnFile = CheckpointSaver::OwnFile;
using Names = std::vector<std::string>;

// What a rank of `ranks` owns of the state.
std::vector<StateRange> share_of(const OwnedState& owned, const Communicator& comm) {
  const auto cut = [&](int64_t rank) { return static_cast<double>(rank) / static_cast<double>(comm.ranks()); };
  return owned.share(cut(comm.rank()), cut(comm.rank() + 1));
}

// One rank's training: a state whose bits are those of the step, and the exchange of every step.
class Training {
 public:
  Training(Communicator& comm, const std::string& directory, bool asynchronous, PieceOptions options = {})
      : comm_(comm), saver_(directory, 10, 0, asynchronous, std::move(options), &comm) {}

  CheckpointSaver& saver() { return saver_; }

  void set(int64_t step) {
    step_ = step;
    const OwnedState now(static_cast<uint64_t>(step));
    for (size_t i = 0; i < now.bytes().size(); ++i)
      std::memcpy(owned_.ranges()[i].data, now.bytes()[i].data(), now.bytes()[i].size());
  }
  void save() {
    TrainingState state = training_state(owned_, step_, static_cast<uint64_t>(step_));
    state.ranges = share_of(owned_, comm_);
    if (!comm_.leads()) state.tokenizer.clear();
    saver_.save(state);
  }
  // Forward and backward, the exchange, and the update, after which the memory holds something else. Whether the save
  // in flight was concluded.
  bool step() {
    const Tensor gradients = Tensor::from<float>({64}, std::vector<float>(64, 1));
    const Pending pending = comm_.all_reduce("gradients", gradients);
    const std::vector<OwnFile> files = comm_.gather("step", saver_.own_file());
    pending.wait();
    const bool ended = std::all_of(files.begin(), files.end(), [](OwnFile file) { return file == OwnFile::Ended; });
    if (ended) saver_.conclude();
    saver_.before_update();
    for (const StateRange& range : owned_.ranges()) std::memset(range.data, 0xff, static_cast<size_t>(range.bytes()));
    return ended;
  }

 private:
  Communicator& comm_;
  OwnedState owned_{1};
  int64_t step_ = 0;
  CheckpointSaver saver_;
};

struct Mode {
  int64_t ranks;
  bool asynchronous;
};
class SaverOfRanks : public testing::TestWithParam<Mode> {
 protected:
  SaverOfRanks() : directory_(folder_.path() + "/checkpoints") {
    const OwnedState old(1);
    write_checkpoint(directory_, training_state(old, 1, 1));
  }
  static int64_t ranks() { return GetParam().ranks; }
  Training training(Communicator& comm, PieceOptions options = {}) const {
    return {comm, directory_, GetParam().asynchronous, std::move(options)};
  }
  bool holds_step(int64_t step) const {
    return holds(directory_ + "/" + checkpoint_name(step), step, static_cast<uint64_t>(step));
  }
  void expect_only(const std::vector<int64_t>& steps) const {
    Names names{"latest"};
    for (int64_t step : steps) {
      names.push_back(checkpoint_name(step));
      EXPECT_TRUE(holds_step(step)) << step;
    }
    EXPECT_EQ(list_directory(directory_), names);
  }

  TemporaryFolder folder_;
  std::string directory_;
};
INSTANTIATE_TEST_SUITE_P(, SaverOfRanks,
                         testing::Values(Mode{1, true}, Mode{2, true}, Mode{2, false}, Mode{3, true}, Mode{3, false}),
                         [](const auto& info) {
                           return fmt::format("{}{}", info.param.ranks,
                                              info.param.asynchronous ? "asynchronous" : "synchronous");
                         });

TEST_P(SaverOfRanks, SavesWhatTheStateWasWhenAsked) {
  expect_fine(ranks(), [&](Communicator& comm) {
    Training one = training(comm);
    for (int64_t step = 2; step <= 5; ++step) {
      one.set(step);
      one.save();
      for (int64_t beside = 0; beside < step; ++beside) one.step();  // none, some, or all are written by then
    }
    EXPECT_TRUE(one.saver().finish());
    EXPECT_FALSE(one.saver().failed());
    EXPECT_EQ(one.saver().last_saved_step(), 5);
    EXPECT_GT(one.saver().last_seconds(), 0);
    EXPECT_EQ(one.saver().own_file(), OwnFile::None);
    EXPECT_TRUE(one.saver().finish()) << "again";
  });
  expect_only({1, 2, 3, 4, 5});
  EXPECT_EQ(Checkpoint::open(directory_ + "/latest").files().size(), static_cast<size_t>(ranks()));
}

// Other work of the training may be under way when it saves and when it concludes.
TEST_P(SaverOfRanks, CollectivesThatWereBegunBeforeComeFirst) {
  expect_fine(ranks(), [&](Communicator& comm) {
    Training one = training(comm);
    one.set(2);
    const Tensor before = Tensor::from<float>({5000}, std::vector<float>(5000, 1)),
                 between = Tensor::from<float>({5000}, std::vector<float>(5000, 2));
    const Pending first = comm.all_reduce("weights", before);
    one.save();
    const Pending second = comm.all_reduce("gradients", between);
    one.saver().conclude();
    second.wait();
    first.wait();
    const auto sum = static_cast<float>(comm.ranks());
    EXPECT_EQ(before.to_vector<float>()[4999], sum);
    EXPECT_EQ(between.to_vector<float>()[4999], 2 * sum);
    EXPECT_TRUE(one.saver().finish());
  });
  expect_only({1, 2});
}

// One that waits for a disk of its own keeps nobody from training, and is waited for.
TEST_P(SaverOfRanks, ASlowRankIsWaitedForWhileTrainingGoesOn) {
  if (ranks() == 1 || !GetParam().asynchronous) GTEST_SKIP() << "nobody goes on beside it";
  std::latch may_write(1);
  std::atomic<int64_t> steps_beside = 0;
  expect_fine(ranks(), [&](Communicator& comm) {
    const bool slow = comm.rank() == comm.ranks() - 1;
    PieceOptions options;
    options.bytes = 512;
    options.before_read = [&](int64_t piece) {
      if (slow && piece == 1) may_write.wait();
    };
    Training one = training(comm, options);
    one.set(2);
    one.save();
    while (!slow && one.saver().own_file() == OwnFile::Writing) std::this_thread::yield();
    for (int64_t step = 0; step < 5; ++step) {
      EXPECT_FALSE(one.step());
      EXPECT_EQ(one.saver().own_file(), slow ? OwnFile::Writing : OwnFile::Ended);
      EXPECT_EQ(list_checkpoints(directory_), Names{"step-00000001"});
      ++steps_beside;
    }
    if (slow) may_write.count_down();
    while (!one.step()) std::this_thread::yield();
    EXPECT_TRUE(one.saver().finish());
  });
  EXPECT_EQ(steps_beside, 5 * ranks());
  expect_only({1, 2});
}

TEST_P(SaverOfRanks, WhereOneCannotWriteAllGiveUpAndTheNextIsGood) {
  for (int64_t broken = 0; broken < ranks(); ++broken)
    for (int64_t piece : {0, 3}) {
      const std::string when = fmt::format("rank {} cannot write its piece {}", broken, piece);
      const std::string said = said_by([&] {
        expect_fine(ranks(), [&](Communicator& comm) {
          std::atomic<bool> works = comm.rank() != broken;
          PieceOptions options;
          options.bytes = 512;
          options.while_read = [&](int64_t reads) {
            if (reads == piece && !works) fail("disk", "is full");
          };
          Training one = training(comm, options);
          one.set(2);
          one.save();
          for (int64_t beside = 0; beside < 3; ++beside) one.step();
          EXPECT_FALSE(one.saver().finish()) << when;
          EXPECT_TRUE(one.saver().failed()) << when;
          EXPECT_EQ(one.saver().last_saved_step(), -1) << when;
          EXPECT_EQ(one.saver().staged_bytes(), 0) << when;
          if (comm.leads()) expect_only({1});
          works = true;
          one.set(3);
          one.save();
          while (one.step()) {
          }
          EXPECT_TRUE(one.saver().finish()) << when;
          EXPECT_EQ(one.saver().last_saved_step(), 3) << when;
        });
      });
      const std::string named =
          ranks() == 1 ? "the checkpoint of step 2 could not be saved: [disk] is full"
                       : fmt::format("the checkpoint of step 2 could not be saved: rank {} ({}): [disk] is full",
                                     broken, Communicator().hosts()[0]);
      EXPECT_NE(said.find(named), std::string::npos) << said;
      EXPECT_EQ(count(said, "warning"), 1) << said;
      expect_only({1, 3});
      std::filesystem::remove_all(directory_ + "/step-00000003");
    }
}

// Of a thousand ranks too.
TEST_P(SaverOfRanks, WhereNoneCanWriteOneIsNamedAndTheOthersCounted) {
  if (ranks() == 1) GTEST_SKIP() << "there are no others";
  const std::string said = said_by([&] {
    expect_fine(ranks(), [&](Communicator& comm) {
      PieceOptions options;
      options.while_read = [&](int64_t) { fail("disk", "is full, says {}", comm.rank()); };
      Training one = training(comm, options);
      one.set(2);
      one.save();
      EXPECT_FALSE(one.saver().finish());
    });
  });
  const std::string named =
      fmt::format("could not be saved: rank 0 ({}): [disk] is full, says 0 (and {} more rank{}); ",
                  Communicator().hosts()[0], ranks() - 1, ranks() == 2 ? "" : "s");
  EXPECT_NE(said.find(named), std::string::npos) << said;
  EXPECT_EQ(count(said, "warning"), 1) << said;
  expect_only({1});
}

// What it has to save is no range of its parameter, so its thread does not even begin.
TEST_P(SaverOfRanks, WhereOneCannotBeginAllGiveUp) {
  const std::string said = said_by([&] {
    expect_fine(ranks(), [&](Communicator& comm) {
      CheckpointSaver saver(directory_, 10, 0, GetParam().asynchronous, {}, &comm);
      const OwnedState owned(2);
      TrainingState state = training_state(owned, 2, 2);
      state.ranges = share_of(owned, comm);
      if (comm.rank() == comm.ranks() - 1) state.ranges.back().first = 1000;
      saver.save(state);
      saver.before_update();
      EXPECT_FALSE(saver.finish());
    });
  });
  EXPECT_NE(said.find("cannot save"), std::string::npos) << said;
  EXPECT_EQ(count(said, "warning"), 1) << said;
  expect_only({1});
}

TEST_P(SaverOfRanks, WhereTheFolderCannotBePreparedAllGiveUpAndTheNextIsGood) {
  const std::string file = folder_.path() + "/file";
  std::ofstream(file) << "a file where the folder should be";
  const std::string said = said_by([&] {
    expect_fine(ranks(), [&](Communicator& comm) {
      Training one(comm, file, GetParam().asynchronous);
      one.set(2);
      one.save();
      one.step();
      EXPECT_FALSE(one.saver().finish());
      EXPECT_TRUE(one.saver().failed());
      one.saver().save_to(directory_);
      one.set(3);
      one.save();
      EXPECT_TRUE(one.saver().finish());
      EXPECT_FALSE(one.saver().failed());
    });
  });
  const std::string lead = ranks() == 1 ? "" : fmt::format("rank 0 of {} ({}): ", ranks(), Communicator().hosts()[0]);
  EXPECT_NE(said.find("the checkpoint of step 2 could not be saved: " + lead + "[" + file), std::string::npos) << said;
  EXPECT_EQ(count(said, "warning"), 1) << said;
  expect_only({1, 3});
}

// The files are there, and are not all of the state.
TEST_P(SaverOfRanks, WhatCannotBePublishedIsNotThereAndAllKnow) {
  if (ranks() == 1) GTEST_SKIP() << "one rank's state is taken for the whole: the trainer's own tests look at it";
  const std::string said = said_by([&] {
    expect_fine(ranks(), [&](Communicator& comm) {
      CheckpointSaver saver(directory_, 10, 0, GetParam().asynchronous, {}, &comm);
      const OwnedState owned(2);
      TrainingState state = training_state(owned, 2, 2);
      state.ranges = share_of(owned, comm);
      if (comm.rank() == comm.ranks() - 1) state.ranges.pop_back();
      saver.save(state);
      EXPECT_FALSE(saver.finish());
      EXPECT_TRUE(saver.failed());
      EXPECT_EQ(saver.last_saved_step(), -1);
      state.ranges = share_of(owned, comm);
      saver.save(state);
      EXPECT_TRUE(saver.finish());
    });
  });
  EXPECT_NE(said.find("cannot be published: no rank wrote exp_avg_sq scale"), std::string::npos) << said;
  EXPECT_EQ(count(said, "warning"), 1) << said;
  expect_only({1, 2});
}

TEST_P(SaverOfRanks, ASaveThatCannotBeginIsOneWarningAndNoneIsGood) {
  const std::string said = said_by([&] {
    expect_fine(ranks(), [&](Communicator& comm) {
      Training one = training(comm);
      one.set(2);
      one.save();
      one.saver().give_up(3, "[run] is away");
      EXPECT_TRUE(one.saver().failed());
      EXPECT_FALSE(one.saver().finish());
      EXPECT_EQ(one.saver().last_saved_step(), 2);
    });
  });
  EXPECT_EQ(count(said, "the checkpoint of step 3 could not be saved: [run] is away"), 1) << said;
  expect_only({1, 2});
}

// As when a training ends by an error: nobody waits for anybody, and nothing is there that not all have said is whole.
TEST_P(SaverOfRanks, WhatWasNotConcludedIsNotPublishedAndIsRemovedByTheNext) {
  if (ranks() == 1 || !GetParam().asynchronous) GTEST_SKIP() << "save() or its thread publishes by itself";
  expect_fine(ranks(), [&](Communicator& comm) {
    Training one = training(comm);
    one.set(2);
    one.save();
  });
  EXPECT_EQ(list_directory(directory_), (Names{".tmp-step-00000002", "latest", "step-00000001"}));
  EXPECT_TRUE(holds_step(1));
  expect_fine(ranks(), [&](Communicator& comm) {
    Training one = training(comm);
    one.set(3);
    one.save();
    EXPECT_TRUE(one.saver().finish());
  });
  expect_only({1, 3});
}

// Whatever it was about to say when it died.
TEST_P(SaverOfRanks, ARankThatDiesAtAnyMomentLeavesWholeCheckpointsAndNobodyWaiting) {
  if (ranks() == 1) GTEST_SKIP() << "injected_fault_test.cpp kills one rank at its system calls";
  const int64_t victim = ranks() - 1;
  bool dies = true;
  int64_t deaths = 0;
  for (int64_t call = 3; dies; ++call) {  // behind the names of the hosts
    const std::string when = fmt::format("rank {} dies at its call {}", victim, call);
    std::atomic<bool> died = false;
    std::optional<Meeting> meeting;
    meeting.emplace(ranks(), [&](int64_t rank, int64_t number) {
      if (rank != victim || number != call) return;
      died = true;
      meeting->leave(victim);
      fail("rank", "dies");
    });
    const Names errors = as_ranks(*meeting, ranks(), [&](Communicator& comm) {
      Training one = training(comm);
      for (int64_t step : {2, 3}) {
        one.set(step);
        one.save();
        one.step();
        one.step();
      }
      EXPECT_TRUE(one.saver().finish());
    });
    dies = died;
    deaths += dies ? 1 : 0;
    for (int64_t rank = 0; rank < ranks(); ++rank) {
      const std::string& error = errors[static_cast<size_t>(rank)];
      const std::string expected = !dies            ? ""
                                   : rank == victim ? "[rank] dies"
                                                    : fmt::format("[ranks] rank {} is gone", victim);
      EXPECT_EQ(error, expected) << when;
    }
    for (const std::string& name : list_checkpoints(directory_)) EXPECT_TRUE(holds_step(step_of(name))) << when;
    EXPECT_TRUE(holds_step(1)) << when;
    if (!dies) expect_only({1, 2, 3});
    std::filesystem::remove_all(directory_);
    const OwnedState old(1);
    write_checkpoint(directory_, training_state(old, 1, 1));
  }
  EXPECT_GT(deaths, 20) << "at every call of two saves and four steps";
}

}  // namespace
}  // namespace gta
