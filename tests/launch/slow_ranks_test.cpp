// A rank that takes much longer than the others is named, and no other; no clock here.
#include "launch/training/slow_ranks.h"

#include <chrono>
#include <thread>

#include "tests/launch/ranks_of_small_run.h"

namespace gta {
namespace {

std::vector<std::string> hosts(int64_t ranks) {
  std::vector<std::string> names;
  for (int64_t rank = 0; rank < ranks; ++rank) names.push_back(fmt::format("node{}", rank / 2));
  return names;
}

// What is said in so many equal steps, from a moment on, each of them a second.
std::vector<std::string> said_in(SlowRanks& slow, int64_t steps, const std::vector<double>& seconds, double& now) {
  std::vector<std::string> said;
  for (int64_t step = 0; step < steps; ++step)
    if (const std::string text = slow.add(seconds, now += 1); !text.empty()) said.push_back(text);
  return said;
}

using Said = std::vector<std::string>;

TEST(SlowRanks, OneIsNamedAfterTwentyStepsAndThenOnceAMinute) {
  SlowRanks slow(hosts(4));
  double now = 1000;
  const std::vector<double> seconds = {1, 1.1, 0.9, 1.8};
  const Said once = {"rank 3 (node1) takes 1.8 times as long as the median of the ranks to compute a step"};
  EXPECT_EQ(said_in(slow, 19, seconds, now), Said{});
  EXPECT_EQ(said_in(slow, 1, seconds, now), once);
  EXPECT_EQ(said_in(slow, 59, seconds, now), Said{});
  EXPECT_EQ(said_in(slow, 60, seconds, now), once);
  EXPECT_EQ(said_in(slow, 60, seconds, now), once);
}

TEST(SlowRanks, NobodyIsSlowUpToOneAndAHalfTimesTheMedian) {
  SlowRanks slow(hosts(3));
  double now = 0;
  EXPECT_EQ(said_in(slow, 200, {2, 2, 3}, now), Said{});
  EXPECT_EQ(said_in(slow, 200, {0, 0, 0}, now), Said{});
  EXPECT_EQ(said_in(slow, 200, {1, 0.1, 1.2}, now), Said{}) << "one that is fast makes no other slow";
}

TEST(SlowRanks, OfTwoTheFasterOneIsWhatTheOtherIsHeldAgainst) {
  SlowRanks slow(hosts(2));
  double now = 0;
  EXPECT_EQ(said_in(slow, 20, {2, 1.2}, now),
            (Said{"rank 0 (node0) takes 1.7 times as long as the median of the ranks to compute a step"}));
}

TEST(SlowRanks, AFewLongStepsNameNobodyAndManyDo) {
  SlowRanks slow(hosts(3));
  double now = 0;
  for (int64_t round = 0; round < 10; ++round) {
    EXPECT_EQ(said_in(slow, 3, {1, 1, 50}, now), Said{});
    EXPECT_EQ(said_in(slow, 17, {1, 1, 1}, now), Said{});
  }
  EXPECT_EQ(said_in(slow, 10, {1, 1, 2}, now), Said{});
  EXPECT_EQ(said_in(slow, 1, {1, 1, 2}, now).size(), 1U) << "most of twenty";
  EXPECT_EQ(said_in(slow, 200, {1, 1, 1}, now), Said{}) << "it has recovered";
}

TEST(SlowRanks, SeveralAreNamedTheSlowestFirstAndOfManyTheRestIsCounted) {
  double now = 0;
  SlowRanks two(hosts(5));
  EXPECT_EQ(said_in(two, 20, {1, 3, 1, 2, 1}, now),
            (Said{"rank 1 (node0) takes 3.0 times as long as the median of the ranks to compute a step, rank 3 (node1) "
                  "2.0 times"}));
  SlowRanks many(hosts(20));
  std::vector<double> seconds(20, 1);
  for (size_t rank = 11; rank < 20; ++rank) seconds[rank] = 2;
  EXPECT_EQ(
      said_in(many, 20, seconds, now),
      (Said{"rank 11 (node5) takes 2.0 times as long as the median of the ranks to compute a step, rank 12 "
            "(node6) 2.0 times, rank 13 (node6) 2.0 times, rank 14 (node7) 2.0 times, and 5 more ranks are slow"}));
}

TEST(SlowRanks, OneRankAloneIsNeverSlow) {
  SlowRanks slow(hosts(1));
  double now = 0;
  EXPECT_EQ(said_in(slow, 200, {5}, now), Said{});
}

class SlowRanksOfARun : public RanksOfSmallRun {};

TEST_F(SlowRanksOfARun, TheLogNamesTheOneThatWaitsForWhatIsItsOwn) {
  testing::internal::CaptureStderr();
  expect_ended_well(train_as(3, "slow", {"train.steps=25", "train.global_batch_size=3", "train.micro_batch_size=1"},
                             [](int64_t rank) {
                               TrainHooks hooks;
                               if (rank == 1)
                                 hooks.before_micro_batch = [](int64_t, int64_t) {
                                   std::this_thread::sleep_for(std::chrono::milliseconds(200));
                                 };
                               return hooks;
                             }));
  const std::string said = testing::internal::GetCapturedStderr(),
                    rank = "warning: rank 1 (" + Communicator().hosts()[0];
  EXPECT_NE(said.find(rank + ") takes "), std::string::npos) << said;
  EXPECT_NE(said.find(" times as long as the median of the ranks to compute a step"), std::string::npos) << said;
}

}  // namespace
}  // namespace gta
