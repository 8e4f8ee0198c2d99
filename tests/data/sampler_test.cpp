#include "data/sampler.h"

#include <set>

#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

std::vector<std::pair<int64_t, int64_t>> epoch(const Sampler& sampler, int64_t number) {
  std::vector<std::pair<int64_t, int64_t>> order;
  for (int64_t i = 0; i < sampler.samples_per_epoch(); ++i) {
    const auto [shard, window] = sampler.at(number * sampler.samples_per_epoch() + i);
    order.emplace_back(shard, window);
  }
  return order;
}

TEST(Sampler, TakesEveryWindowExactlyOnceInEachEpoch) {
  for (int64_t windows = 1; windows <= 70; ++windows)
    for (uint64_t seed : {0u, 1u, 1234u})
      for (int64_t number : {0, 1, 2}) {
        const auto order = epoch(Sampler({windows}, seed), number);
        EXPECT_EQ(std::set(order.begin(), order.end()).size(), static_cast<size_t>(windows))
            << windows << " windows, epoch " << number;
      }
  for (int64_t windows : {255, 256, 257, 4095, 4096, 4097, 65537, 100003}) {
    const auto order = epoch(Sampler({windows}, 7), 3);
    EXPECT_EQ(std::set(order.begin(), order.end()).size(), static_cast<size_t>(windows)) << windows;
  }
}

TEST(Sampler, NamesWindowsOfEveryShardWithinIt) {
  const std::vector<int64_t> windows = {5, 0, 1, 300, 0, 17};
  const auto order = epoch(Sampler(windows, 3), 0);
  EXPECT_EQ(std::set(order.begin(), order.end()).size(), 323u);
  for (const auto& [shard, window] : order) {
    ASSERT_TRUE(shard >= 0 && shard < 6);
    EXPECT_TRUE(window >= 0 && window < windows[shard]);
  }
}

TEST(Sampler, OrderDiffersByEpochAndBySeed) {
  const Sampler sampler({1000}, 1);
  const auto matches = [](const auto& a, const auto& b) {
    int same = 0;
    for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i];
    return same;
  };
  const auto first = epoch(sampler, 0);
  std::vector<std::pair<int64_t, int64_t>> stored = first;
  std::sort(stored.begin(), stored.end());
  // Two unrelated orders agree in one place on average; more than 12 in fewer than one of 10^9 pairs.
  EXPECT_LT(matches(first, stored), 12);
  EXPECT_LT(matches(first, epoch(sampler, 1)), 12);
  EXPECT_LT(matches(first, epoch(Sampler({1000}, 2), 0)), 12);
  EXPECT_EQ(first, epoch(Sampler({1000}, 1), 0));
}

TEST(Sampler, NeighboursAreFarApartAsInAShuffle) {
  const auto order = epoch(Sampler({10000}, 5), 0);
  int ascents = 0;
  double distance = 0;
  for (size_t i = 1; i < order.size(); ++i) {
    ascents += order[i].second > order[i - 1].second;
    distance +=
        std::abs(static_cast<double>(order[i].second - order[i - 1].second)) / static_cast<double>(order.size() - 1);
  }
  // Of a random order: half ascents (standard deviation 29), mean distance a third of the size (standard deviation
  // about 24 after 10^4).
  EXPECT_NEAR(ascents, 5000, 150);
  EXPECT_NEAR(distance, 10000.0 / 3, 150);
}

TEST(Sampler, OrderIsTheOneItAlwaysWas) {
  // A resumed run goes on in this order: a change here changes every run.
  const Sampler sampler({3, 7}, 1234);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < 20; ++i) order.push_back(sampler.at(i).shard * 100 + sampler.at(i).window);
  EXPECT_EQ(order, (std::vector<int64_t>{0,   103, 102, 100, 105, 106, 101, 2,   104, 1,
                                         103, 1,   2,   106, 0,   104, 101, 100, 102, 105}));
}

TEST(Sampler, HugeEpochsAndSampleNumbersWork) {
  const Sampler sampler({int64_t{1} << 40, 12345}, 1);
  for (int64_t sample : {int64_t{0}, int64_t{1} << 41, int64_t{1} << 60, INT64_MAX}) {
    const auto [shard, window] = sampler.at(sample);
    EXPECT_TRUE(shard == 0 || (shard == 1 && window < 12345));
    EXPECT_LT(window, int64_t{1} << 40);
  }
}

TEST(Sampler, NoWindowsAreRefused) {
  EXPECT_NE(refusal([] { Sampler({}, 1); }).find("sequence_length"), std::string::npos);
  refusal([] { Sampler({0, 0}, 1); });
}

}  // namespace
}  // namespace gta
