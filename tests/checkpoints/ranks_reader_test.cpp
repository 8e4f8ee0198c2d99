// Several ranks, each a thread, go on from one checkpoint: the same on all, of as many files as there are; where any of
// them cannot load what it wants, all go on to the one before, together.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <functional>

#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "tests/checkpoints/as_ranks.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::as_ranks, test::count, test::expect_fine, test::holds, test::OwnedState, test::said_by,
    test::TemporaryFolder, test::write_by_owners;

// What rank `rank` of `ranks` wants of a state.
std::vector<StateRange> wanted_of(const OwnedState& target, const Communicator& comm) {
  const auto cut = [&](int64_t rank) { return static_cast<double>(rank) / static_cast<double>(comm.ranks()); };
  return target.wanted_share(cut(comm.rank()), cut(comm.rank() + 1));
}

class ReadByRanks : public testing::Test {
 protected:
  ReadByRanks() {
    for (int64_t step : {1, 2, 3}) {
      const auto seed = static_cast<uint64_t>(step);
      write_by_owners(folder_.path(), OwnedState(seed), step, seed, {0, 0.3, 0.3, 0.7, 1});
    }
  }
  std::string path_of(int64_t step) const { return folder_.path() + "/" + checkpoint_name(step); }

  // Of the element of a parameter in the middle of what is stored.
  void flip(int64_t step, const std::string& part, const std::string& parameter, int64_t element) const {
    const Checkpoint checkpoint = Checkpoint::open(path_of(step));
    for (const Checkpoint::Entry& entry : checkpoint.entries()) {
      if (entry.part != part || entry.parameter != parameter || element < entry.first ||
          element >= entry.first + entry.count)
        continue;
      std::fstream file(checkpoint.path() + "/" + entry.file, std::ios::in | std::ios::out | std::ios::binary);
      const int64_t at = entry.offset + (element - entry.first) * static_cast<int64_t>(size_of(entry.dtype));
      file.seekg(at);
      const char byte = static_cast<char>(file.get());
      file.seekp(at);
      file.put(static_cast<char>(byte ^ 1));
      return;
    }
    FAIL() << part << " " << parameter << " has no element " << element;
  }
  // Loads by so many, each into its part of one target; the step that all have used, or -1.
  int64_t use(int64_t ranks, OwnedState& target) const {
    std::vector<int64_t> steps(static_cast<size_t>(ranks), -2);
    expect_fine(ranks, [&](Communicator& comm) {
      const std::vector<StateRange> wanted = wanted_of(target, comm);
      CheckpointUse use;
      use.consider = [&](const Checkpoint& checkpoint) {
        EXPECT_EQ(checkpoint.tokenizer().substr(0, 10), std::string("tok\0enizer", 10));
        checkpoint.check_fits(wanted);
        return true;
      };
      use.load = [&](const Checkpoint& checkpoint) { checkpoint.load(wanted); };
      const std::optional<Checkpoint> found = use_newest_good(folder_.path(), use, comm);
      steps[static_cast<size_t>(comm.rank())] = found ? found->position().step : -1;
      if (found) {
        EXPECT_EQ(found->path(), path_of(found->position().step));
      }
    });
    for (int64_t step : steps) EXPECT_EQ(step, steps[0]) << "ranks went on from different ones";
    return steps[0];
  }

  TemporaryFolder folder_;
};

TEST_F(ReadByRanks, WhatFourSavedLoadsByAnyNumber) {
  for (int64_t ranks : {1, 2, 3, 5}) {
    OwnedState target(0);
    EXPECT_EQ(said_by([&] { EXPECT_EQ(use(ranks, target), 3); }), "");
    EXPECT_TRUE(target.bytes() == OwnedState(3).bytes()) << ranks << " ranks";
  }
}

// Whichever rank it is that reads the byte: the first file's ranges are the first rank's alone, the last file's the
// last one's.
TEST_F(ReadByRanks, AllFallBackTogetherWhereOneReadsADamagedRange) {
  flip(3, "exp_avg", "model.embed_tokens.weight", 0);
  flip(2, "master", "model.embed_tokens.weight", 527);
  for (int64_t ranks : {1, 2, 3}) {
    OwnedState target(0);
    const std::string said = said_by([&] { EXPECT_EQ(use(ranks, target), 1); });
    EXPECT_TRUE(target.bytes() == OwnedState(1).bytes()) << ranks << " ranks";
    EXPECT_EQ(count(said, "warning: skips a damaged checkpoint: "), 2) << said;
    if (ranks == 1) continue;
    for (const auto& [step, rank] : std::vector<std::pair<int64_t, int64_t>>{{3, 0}, {2, ranks - 1}})
      EXPECT_NE(said.find(fmt::format("skips a damaged checkpoint: rank {} of {} ({}): [{}]", rank, ranks,
                                      Communicator().hosts()[0], path_of(step))),
                std::string::npos)
          << said;
  }
}

TEST_F(ReadByRanks, AManifestOrATokenizerThatIsDamagedIsPassedOverByAll) {
  std::ofstream(path_of(3) + "/manifest.json") << "damaged";
  flip(2, "tokenizer", "", 4);
  for (int64_t ranks : {1, 2, 3}) {
    OwnedState target(0);
    const std::string said = said_by([&] { EXPECT_EQ(use(ranks, target), 1); });
    EXPECT_TRUE(target.bytes() == OwnedState(1).bytes()) << ranks << " ranks";
    EXPECT_EQ(count(said, "skips a damaged checkpoint: "), 2) << said;
  }
}

TEST_F(ReadByRanks, WhereNoneIsWholeAllKnow) {
  for (int64_t step : {1, 2, 3}) std::ofstream(path_of(step) + "/manifest.json") << "damaged";
  OwnedState target(0);
  const std::string said = said_by([&] { EXPECT_EQ(use(2, target), -1); });
  EXPECT_EQ(count(said, "skips a damaged checkpoint: "), 3) << said;
}

// One that is not wanted is not loaded; what refuses a start refuses it on every rank, and names the one that does.
TEST_F(ReadByRanks, WhatIsSaidOfACheckpointHoldsForAll) {
  expect_fine(3, [&](Communicator& comm) {
    CheckpointUse use;
    std::vector<int64_t> loaded;
    use.consider = [](const Checkpoint& checkpoint) { return checkpoint.position().step != 3; };
    use.load = [&](const Checkpoint& checkpoint) { loaded.push_back(checkpoint.position().step); };
    EXPECT_EQ(use_newest_good(folder_.path(), use, comm)->position().step, 2);
    EXPECT_EQ(loaded, std::vector<int64_t>{2});
    use.consider = [&](const Checkpoint&) -> bool {
      if (comm.rank() == 1) bad_input("model.hidden", "is another");
      return true;
    };
    try {
      use_newest_good(folder_.path(), use, comm);
      ADD_FAILURE() << "rank " << comm.rank() << " goes on";
    } catch (const Error& error) {
      EXPECT_TRUE(error.agreed());
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find("rank 1 of 3"), std::string::npos) << error.what();
    }
  });
}

// Nor is there for an older one: going back to it would lose what came after, and say that the newest is damaged.
TEST_F(ReadByRanks, ALackOfMemoryIsNoDamage) {
  for (int64_t ranks : {1, 2, 3})
    for (bool plain : {true, false}) {
      std::atomic<int64_t> loads = 0;
      const std::string said = said_by([&] {
        expect_fine(ranks, [&](Communicator& comm) {
          CheckpointUse use;
          use.load = [&](const Checkpoint&) {
            ++loads;
            if (comm.rank() != comm.ranks() - 1) return;
            if (plain) throw std::bad_alloc();
            throw Error(ErrorKind::OutOfMemory, "cpu", "wants 3 GiB");
          };
          try {
            use_newest_good(folder_.path(), use, comm);
            ADD_FAILURE() << "rank " << comm.rank() << " of " << ranks << " goes on";
          } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
            EXPECT_EQ(error.agreed(), ranks > 1);
          } catch (const std::bad_alloc&) {
            EXPECT_EQ(ranks, 1);
          }
        });
      });
      EXPECT_EQ(loads, ranks) << "one checkpoint, by each";
      EXPECT_EQ(said, "");
    }
}

// A run's folder is its newest good one, and a checkpoint's own folder is that one; what is neither is refused alike.
TEST_F(ReadByRanks, WhatIsNamedIsTheSameForAll) {
  flip(3, "master", "model.embed_tokens.weight", 5);
  const std::string& directory = folder_.path();
  for (const auto& [named, step] : std::vector<std::pair<std::string, int64_t>>{{directory, 2}, {path_of(1), 1}})
    expect_fine(3, [&](Communicator& comm) {
      OwnedState target(0);
      const std::vector<StateRange> wanted = wanted_of(target, comm);
      CheckpointUse use;
      use.load = [&](const Checkpoint& checkpoint) { checkpoint.load(wanted); };
      EXPECT_EQ(use_checkpoint(named, use, comm).position().step, step);
    });
  for (const std::string& named : {directory + "/none", path_of(3)})
    for (const std::string& error : as_ranks(Meeting(2), 2, [&](Communicator& comm) {
           OwnedState target(0);
           const std::vector<StateRange> wanted = wanted_of(target, comm);
           CheckpointUse use;
           use.load = [&](const Checkpoint& checkpoint) { checkpoint.load(wanted); };
           use_checkpoint(named, use, comm);
         }))
      EXPECT_NE(error.find(named), std::string::npos) << error;
}

// That is not the checkpoint's fault: there is no going back to another.
TEST_F(ReadByRanks, ARankThatIsGoneIsNoDamage) {
  struct Gone {};
  std::atomic<int64_t> loads = 0;
  Meeting meeting(2);
  std::vector<std::string> errors;
  const std::string said = said_by([&] {
    errors = as_ranks(meeting, 2, [&](Communicator& comm) {
      CheckpointUse use;
      use.load = [&](const Checkpoint&) {
        ++loads;
        if (comm.rank() == 0) return;
        meeting.leave(1);
        throw Gone{};
      };
      try {
        use_newest_good(folder_.path(), use, comm);
      } catch (const Gone&) {
        throw std::runtime_error("rank 1 is gone");
      }
    });
  });
  EXPECT_EQ(loads, 2) << "one checkpoint, by each";
  EXPECT_EQ(said, "");
  for (const std::string& error : errors) EXPECT_NE(error.find("rank 1 is gone"), std::string::npos) << error;
}

}  // namespace
}  // namespace gta
