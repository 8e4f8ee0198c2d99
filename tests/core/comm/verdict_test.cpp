#include "core/comm/verdict.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace gta {
namespace {

constexpr double kTimeout = 60;

RankReport doing(int64_t step, std::string_view phase, int64_t number, std::string_view collective, bool inside) {
  RankReport report;
  report.step = step;
  report.number = number;
  report.inside = inside ? 1 : 0;
  report.begun = number;
  std::copy(phase.begin(), phase.end(), report.phase.begin());
  std::copy(collective.begin(), collective.end(), report.collective.begin());
  return report;
}
const RankReport kInGradients = doing(12, "backward", 17, "gradients", true);
const RankReport kAfterLoss = doing(12, "data", 16, "loss", false);

std::vector<std::string> hosts(int64_t ranks) {
  std::vector<std::string> names;
  for (int64_t r = 0; r < ranks; ++r) names.push_back(fmt::format("node{}", r / 2));
  return names;
}

// Ranks that report once a second, from 0 on.
class Trial {
 public:
  explicit Trial(int64_t ranks, double timeout = kTimeout) : judge(hosts(ranks), timeout, 4), ranks_(ranks) {
    judge.start(0);
  }
  // What each does every second until `until`, or until a verdict.
  template <class Does>
  std::optional<Judge::Verdict> run(double until, Does does) {
    for (; now <= until; now += 1) {
      for (int64_t r = 0; r < ranks_; ++r)
        if (const std::optional<RankReport> report = does(r)) judge.report(r, *report, now);
      if (auto verdict = judge.verdict(now)) return verdict;
    }
    return {};
  }
  Judge judge;
  double now = 0;

 private:
  int64_t ranks_;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::string row_of(const std::string& table, int64_t rank) {
  const size_t at = table.find(fmt::format("\n{:>6}  ", rank));
  return at == std::string::npos ? "" : table.substr(at + 1, table.find('\n', at + 1) - at - 1);
}

TEST(Verdict, NamesWhoNeverCameAndWhatItDidLast) {
  Trial trial(4);
  const auto verdict =
      trial.run(1000, [](int64_t r) -> std::optional<RankReport> { return r == 2 ? kAfterLoss : kInGradients; });
  ASSERT_TRUE(verdict);
  EXPECT_EQ(trial.now, kTimeout);
  EXPECT_EQ(verdict->sentence,
            "the training hangs (timeout 60 s): rank 2 (node1) (last seen in 'data' of step 12, after collective 16 "
            "'loss', unmoved for 60 s) never came to collective 17 'gradients', where rank 0 (node0), rank 1 (node0), "
            "rank 3 (node1) wait");
  EXPECT_TRUE(has(row_of(verdict->table, 2), "node1        12     60.0 s  data")) << verdict->table;
  EXPECT_TRUE(has(row_of(verdict->table, 2), "16 'loss', left")) << verdict->table;
  EXPECT_TRUE(has(row_of(verdict->table, 2), "has not come")) << verdict->table;
  EXPECT_TRUE(has(row_of(verdict->table, 3), "17 'gradients', inside")) << verdict->table;
  EXPECT_TRUE(has(row_of(verdict->table, 3), "waits")) << verdict->table;
  EXPECT_LT(verdict->table.find(row_of(verdict->table, 2)), verdict->table.find(row_of(verdict->table, 0)))
      << "who is missing comes first";
}

TEST(Verdict, DoesNotWaitForTheOthersTimeoutWhenTheyWaitForOne) {
  Trial trial(3);
  EXPECT_FALSE(trial.run(50, [&](int64_t r) -> std::optional<RankReport> {
    RankReport busy = kAfterLoss;
    busy.moves = r == 1 ? 0 : static_cast<int64_t>(trial.now);
    return busy;
  }));
  const auto verdict =
      trial.run(1000, [](int64_t r) -> std::optional<RankReport> { return r == 1 ? kAfterLoss : kInGradients; });
  ASSERT_TRUE(verdict);
  EXPECT_EQ(trial.now, kTimeout);
  EXPECT_TRUE(has(verdict->sentence, "rank 1 (node0) (last seen")) << verdict->sentence;
}

TEST(Verdict, ASlowRankIsWaitedForAsLongAsAnythingOfItMoves) {
  for (const int what : {0, 1, 2, 3}) {
    Trial trial(3);
    EXPECT_FALSE(trial.run(1000, [&](int64_t r) -> std::optional<RankReport> {
      if (r != 1) return kInGradients;
      RankReport slow = kAfterLoss;
      const int64_t change = static_cast<int64_t>(trial.now) / 50;
      if (what == 0) slow.moves = change;
      if (what == 1) slow.step = change;
      if (what == 2) slow.phase[0] = static_cast<char>('a' + change % 2);
      if (what == 3) slow.begun = change;
      return slow;
    })) << what;
  }
}

TEST(Verdict, ARankThatStandsWhileOthersMoveOnTheirOwnIsNotHungYet) {
  Trial trial(3);
  EXPECT_FALSE(trial.run(1000, [&](int64_t r) -> std::optional<RankReport> {
    RankReport report = kAfterLoss;
    if (r == 2) report.moves = static_cast<int64_t>(trial.now);
    return report;
  }));
}

TEST(Verdict, RanksThatAreSeenInsideCollectivesButMoveAreNotHung) {
  Trial trial(3);
  EXPECT_FALSE(trial.run(1000, [&](int64_t) -> std::optional<RankReport> {
    return doing(static_cast<int64_t>(trial.now), "backward", 17 + static_cast<int64_t>(trial.now), "gradients", true);
  }));
}

TEST(Verdict, ARankWithoutReportsIsStoppedOrCutOffWhateverTheOthersDo) {
  Trial trial(3);
  const auto verdict = trial.run(1000, [&](int64_t r) -> std::optional<RankReport> {
    RankReport report = kAfterLoss;
    report.moves = static_cast<int64_t>(trial.now);
    if (r == 1 && trial.now >= 5) return {};
    return report;
  });
  ASSERT_TRUE(verdict);
  EXPECT_EQ(trial.now, 4 + kTimeout);
  EXPECT_TRUE(has(verdict->sentence, "rank 1 (node0) (last seen in 'data'")) << verdict->sentence;
  EXPECT_TRUE(has(verdict->sentence, "sends no reports")) << verdict->sentence;
  EXPECT_TRUE(has(row_of(verdict->table, 1), "no report for 60.0 s")) << verdict->table;
}

TEST(Verdict, OfThoseThatDoNotMoveTheOneWithoutReportsIsNamed) {
  Trial trial(3);
  const auto verdict = trial.run(1000, [&](int64_t r) -> std::optional<RankReport> {
    if (r == 2 && trial.now >= 20) return {};
    return r == 2 ? kAfterLoss : kInGradients;
  });
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(has(verdict->sentence, "rank 2 (node1) (last seen")) << verdict->sentence;
  EXPECT_TRUE(has(verdict->sentence, "sends no reports")) << verdict->sentence;
}

TEST(Verdict, WhereAllAreInsideTheNetworkIsSuspected) {
  Trial trial(3);
  const auto verdict = trial.run(1000, [](int64_t) -> std::optional<RankReport> { return kInGradients; });
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(has(verdict->sentence, "all ranks entered collective 17 'gradients' and none comes out"));
}

TEST(Verdict, WhereNobodyIsInsideEachIsNamed) {
  Trial trial(2);
  const auto verdict = trial.run(1000, [](int64_t) -> std::optional<RankReport> { return kAfterLoss; });
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(has(verdict->sentence, "no rank waits for another")) << verdict->sentence;
  EXPECT_TRUE(has(verdict->sentence, "rank 0 (node0)") && has(verdict->sentence, "rank 1 (node0)"));
}

TEST(Verdict, WhoFinishedIsNotMissedAndWhoDoesNotIs) {
  Trial trial(3);
  trial.judge.finish(0);
  trial.judge.finish(2);
  trial.judge.lose(2, "", 3);
  EXPECT_FALSE(trial.run(200, [&](int64_t r) -> std::optional<RankReport> {
    if (r != 1) return {};
    return doing(12, "saves", static_cast<int64_t>(trial.now), "loss", false);
  }));
  const auto verdict = trial.run(
      1000, [](int64_t r) -> std::optional<RankReport> { return r == 1 ? std::optional(kAfterLoss) : std::nullopt; });
  ASSERT_TRUE(verdict);
  EXPECT_EQ(trial.now, 201 + kTimeout);
  EXPECT_TRUE(has(verdict->sentence, "each stands where it is: rank 1 (node0)")) << verdict->sentence;
  EXPECT_TRUE(has(row_of(verdict->table, 2), "finished")) << verdict->table;
  EXPECT_FALSE(trial.judge.all_finished());
  trial.judge.finish(1);
  EXPECT_TRUE(trial.judge.all_finished());
  EXPECT_FALSE(trial.judge.verdict(1e6));
}

TEST(Verdict, NothingIsHungWithoutATimeoutButRanksAreLost) {
  Trial trial(2, 0);
  EXPECT_FALSE(trial.run(100000, [](int64_t) -> std::optional<RankReport> { return kAfterLoss; }));
  trial.judge.lose(1, "", trial.now);
  EXPECT_TRUE(trial.judge.verdict(trial.now + 1));
}

TEST(Verdict, ALossWaitsForLastWordsWhichAreTheCause) {
  Trial trial(6);
  trial.judge.report(3, kInGradients, 9);
  trial.judge.lose(3, "", 10);
  trial.judge.lose(3, "", 10.3);  // that it is lost is seen again and again
  EXPECT_FALSE(trial.judge.verdict(10.4));
  trial.judge.lose(1, "Connection timed out", 10.4);
  Judge worded = trial.judge;
  const auto lost = trial.judge.verdict(10.6);
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->sentence.find("lost rank 3 (node1), last seen in 'backward' of step 12, inside collective 17 "
                                "'gradients': its process ended without a word"),
            0u)
      << lost->sentence;
  EXPECT_EQ(lost->sentence.find("; also rank 1 (node0)"), lost->sentence.size() - 21) << lost->sentence;
  EXPECT_TRUE(has(row_of(lost->table, 3), "lost")) << lost->table;

  worded.last_words(5, "the disk is full");
  worded.last_words(0, "no peer");
  const auto words = worded.verdict(10.4);
  ASSERT_TRUE(words);
  EXPECT_EQ(words->sentence, "rank 5 (node2): the disk is full\nlost: rank 3 (node1), rank 1 (node0)");
  EXPECT_EQ(words->table, "");
}

TEST(Verdict, SecondsCountFromTheStart) {
  Judge judge(hosts(2), kTimeout, 4);
  judge.start(100);
  EXPECT_FALSE(judge.verdict(100 + kTimeout - 1));
  EXPECT_TRUE(judge.verdict(100 + kTimeout));
}

TEST(Verdict, SaysWhyAConnectionFailed) {
  Trial trial(2);
  trial.judge.lose(1, "Connection timed out", 0);
  EXPECT_TRUE(has(trial.judge.verdict(1)->sentence, "its connection failed: Connection timed out"));
}

TEST(Verdict, OfThousandRanksThoseThatMatterAreListed) {
  Trial trial(1024);
  const auto verdict =
      trial.run(1000, [](int64_t r) -> std::optional<RankReport> { return r >= 1000 ? kAfterLoss : kInGradients; });
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(has(verdict->sentence, "rank 1007 (node503)") && has(verdict->sentence, "and 16 more"));
  EXPECT_LT(verdict->sentence.size(), 2000u);
  EXPECT_EQ(std::count(verdict->table.begin(), verdict->table.end(), '\n'), 64 + 1);
  EXPECT_TRUE(has(verdict->table, "  1023  node511")) << verdict->table;
  EXPECT_TRUE(has(verdict->table, "   960 more")) << verdict->table;
}

TEST(Verdict, TextsThatDoNotEndAreEnded) {
  Trial trial(2);
  RankReport report = kAfterLoss;
  report.phase.fill('p');
  report.collective.fill('c');
  trial.judge.report(1, report, 1);
  trial.judge.report(0, kInGradients, 1);
  const auto verdict = trial.judge.verdict(100);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(has(verdict->sentence, "'" + std::string(31, 'p') + "'")) << verdict->sentence;
}

}  // namespace
}  // namespace gta
