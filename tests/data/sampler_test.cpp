#include "data/sampler.h"

#include <atomic>
#include <cmath>
#include <map>
#include <set>
#include <thread>

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

// Of a random order of T windows, (T - 1) / T are followed by the next one on average, nearly as in a Poisson law;
// half of all neighbours ascend, with variance (T + 1) / 12; their mean distance is (T + 1) / 3.
TEST(Sampler, NeighboursAreThoseOfAShuffle) {
  std::vector<int64_t> sizes = {2,     3,   4,   5,   6,    7,    8,    9,    15,   16,   17,   31,      64,
                                100,   255, 257, 500, 1000, 1500, 2000, 3000, 4000, 4097, 5000, 1 << 16, (1 << 16) + 1,
                                100003};
  double all = 0;
  for (int64_t windows : sizes) {
    const int64_t epochs = std::max<int64_t>(8, 40000 / windows);
    const Sampler sampler({windows}, 5);
    int64_t successions = 0, ascents = 0;
    double distance = 0;
    for (int64_t number = 0; number < epochs; ++number) {
      const auto order = epoch(sampler, number);
      for (size_t i = 1; i < order.size(); ++i) {
        successions += order[i].second == order[i - 1].second + 1;
        ascents += order[i].second > order[i - 1].second;
        distance += std::abs(static_cast<double>(order[i].second - order[i - 1].second));
      }
    }
    const auto n = static_cast<double>(epochs), t = static_cast<double>(windows), pairs = n * (t - 1);
    const double z = (static_cast<double>(successions) - pairs / t) / std::sqrt(pairs / t);
    EXPECT_LT(std::abs(z), 3) << windows << " windows: " << successions << " of " << pairs / t;
    EXPECT_LT(std::abs(static_cast<double>(ascents) - pairs / 2) / std::sqrt(n * (t + 1) / 12), 3) << windows;
    // Of one distance the variance is (T + 1)(T - 2) / 18; those beside each other are hardly correlated.
    EXPECT_LT(std::abs(distance / pairs - (t + 1) / 3) / std::sqrt((t + 1) * std::max(t - 2, 1.0) / 18 / pairs), 3)
        << windows;
    all += z * z;
  }
  // Chi-square with as many degrees of freedom as there are sizes.
  const auto degrees = static_cast<double>(sizes.size());
  EXPECT_LT(all, degrees + 3 * std::sqrt(2 * degrees));
}

TEST(Sampler, AllOrdersOfAFewWindowsAreEquallyLikely) {
  struct Case {
    int64_t windows;
    int orders;
    double most;  // chi-square, of orders - 1 degrees of freedom: its quantile 0.999
  };
  for (const auto& [windows, orders, most] : {Case{2, 2, 10.8}, {3, 6, 20.5}, {4, 24, 49.7}, {5, 120, 173.6}}) {
    std::map<std::vector<std::pair<int64_t, int64_t>>, int> seen;
    constexpr int kEach = 500;
    const Sampler sampler({windows}, 11);
    for (int64_t number = 0; number < kEach * orders; ++number) ++seen[epoch(sampler, number)];
    EXPECT_EQ(seen.size(), static_cast<size_t>(orders));
    double chi_square = 0;
    for (const auto& [order, count] : seen) chi_square += (count - kEach) * static_cast<double>(count - kEach) / kEach;
    EXPECT_LT(chi_square, most) << windows;
  }
}

std::vector<int64_t> first_samples(const Sampler& sampler) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < 20; ++i) order.push_back(sampler.at(i).shard * 100 + sampler.at(i).window);
  return order;
}

// A resumed run goes on in this order: a change here changes every run.
TEST(Sampler, OrderIsTheOneItAlwaysWas) {
  Sampler sampler({3, 7}, 1234);
  EXPECT_EQ(first_samples(sampler), (std::vector<int64_t>{105, 0,   103, 106, 100, 102, 101, 104, 1,   2,
                                                          2,   105, 103, 0,   102, 100, 1,   104, 101, 106}));
  sampler.set_order(SampleOrder::Network);
  EXPECT_EQ(first_samples(sampler), (std::vector<int64_t>{0,   103, 102, 100, 105, 106, 101, 2,   104, 1,
                                                          103, 1,   2,   106, 0,   104, 101, 100, 102, 105}));
}

TEST(Sampler, ThreadsThatReadInSeveralEpochsSeeOneOrder) {
  const Sampler sampler({300}, 3);
  std::vector<std::pair<int64_t, int64_t>> expected;
  for (int64_t i = 0; i < 6 * 300; ++i) {
    const auto [shard, window] = Sampler({300}, 3).at(i);
    expected.emplace_back(shard, window);
  }
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 6 * 300; ++i) {
        const int64_t sample = (i + t * 299) % (6 * 300);
        const auto [shard, window] = sampler.at(sample);
        wrong += std::pair(shard, window) != expected[static_cast<size_t>(sample)];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
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
