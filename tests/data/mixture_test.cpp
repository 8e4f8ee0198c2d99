#include "data/mixture.h"

#include <cmath>
#include <limits>
#include <set>

#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

// Sources of sizes that divide nothing, in one or more shards.
Mixture mixture(const std::vector<double>& weights, uint64_t seed = 1) {
  std::vector<MixtureSource> sources;
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto size = static_cast<int64_t>(5 + i * 7);
    sources.push_back({i % 2 ? std::vector<int64_t>{size} : std::vector<int64_t>{1, 0, size}, weights[i]});
  }
  return Mixture(sources, seed);
}

// Weights in a ratio of integers with a sum up to 2^20, and what that sum is.
struct Ratio {
  std::vector<double> weights;
  int64_t period;
};

std::vector<Ratio> ratios() {
  std::vector<Ratio> all = {{{1}, 1},
                            {{0.3}, 1},
                            {{1, 1}, 2},
                            {{0.7, 0.3}, 10},
                            {{0.1, 0.2, 0.7}, 10},
                            {{1, 1, 1}, 3},
                            {{0.001, 1}, 1001},
                            {{1e-12, 3e-12}, 4},
                            {{3e14, 1e14, 1e14}, 5},
                            {{0.5, 0.25, 0.125, 0.0625, 0.0625}, 16},
                            {{0.123456, 0.654321, 0.222223}, 1000000},
                            {{0.67, 0.15, 0.045, 0.045, 0.045, 0.025, 0.02}, 200},
                            {std::vector<double>(37, 2.5), 37}};
  // One source beside many small ones: they must not all come at once.
  all.push_back({{90}, 100});
  all.back().weights.resize(11, 1);
  // Pairs of a large and a small one, where every large one wants the same slots.
  all.push_back({{}, 5 * 101});
  for (int i = 0; i < 5; ++i) all.back().weights.insert(all.back().weights.end(), {100, 1});
  uint64_t state = 11;
  for (int i = 0; i < 30; ++i) {
    Ratio random{{}, 0};
    for (uint64_t k = 0; k < 2 + state % 23; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const auto part = static_cast<int64_t>(1 + (state >> 33) % ((state >> 60) % 2 ? 7 : 400));
      random.weights.push_back(static_cast<double>(part));
      random.period += part;
    }
    random.weights.push_back(1);  // the parts have no common divisor then
    ++random.period;
    all.push_back(random);
  }
  return all;
}

TEST(Mixture, ProportionsHoldWithinOneSampleAfterEverySample) {
  for (const Ratio& ratio : ratios()) {
    const Mixture m = mixture(ratio.weights);
    ASSERT_EQ(m.period(), ratio.period);
    double total = 0;
    for (double weight : ratio.weights) total += weight;
    std::vector<int64_t> counts(ratio.weights.size());
    double worst = 0;
    for (int64_t n = 0; n < 2 * m.period() + 3; ++n) {
      ++counts[m.at(n).source];
      for (size_t i = 0; i < counts.size(); ++i)
        worst = std::max(
            worst, std::abs(static_cast<double>(counts[i]) - static_cast<double>(n + 1) * (ratio.weights[i] / total)));
    }
    EXPECT_LT(worst, 1) << ratio.weights.size() << " sources, period " << m.period();
  }
}

TEST(Mixture, SharesOfWeightsInNoRatioAreRoundedToOneInAMillion) {
  const std::vector<double> weights = {1, std::sqrt(2), M_PI, 0.001 * std::exp(1)};
  const Mixture m = mixture(weights);
  ASSERT_EQ(m.period(), 1 << 20);
  double total = 0;
  for (double weight : weights) total += weight;
  int64_t parts = 0;
  for (int64_t i = 0; i < m.sources(); ++i) {
    EXPECT_LT(std::abs(static_cast<double>(m.parts(i)) / (1 << 20) - weights[i] / total), 1.0 / (1 << 20));
    parts += m.parts(i);
  }
  EXPECT_EQ(parts, 1 << 20);
  std::vector<int64_t> counts(weights.size());
  for (int64_t n = 0; n < 100000; ++n) {
    ++counts[m.at(n).source];
    for (int64_t i = 0; i < m.sources(); ++i)
      ASSERT_LT(std::abs(static_cast<double>(counts[i]) - static_cast<double>((n + 1) * m.parts(i)) / (1 << 20)), 1)
          << n;
  }
}

TEST(Mixture, EverySourceGivesEachOfItsWindowsExactlyOncePerEpochOfItsOwn) {
  for (const std::vector<double>& weights :
       std::vector<std::vector<double>>{{1}, {0.7, 0.3}, {1, 5, 2, 2}, {0.1, 0.2, 0.3, 0.4, 0.05}}) {
    const Mixture m = mixture(weights);
    std::vector<std::vector<std::pair<int64_t, int64_t>>> taken(weights.size());
    for (int64_t n = 0; n < 3000; ++n) {
      const auto [source, shard, window] = m.at(n);
      ASSERT_GE(shard, m.first_shard(source));
      ASSERT_TRUE(source + 1 == m.sources() || shard < m.first_shard(source + 1));
      taken[source].emplace_back(shard, window);
    }
    for (int64_t i = 0; i < m.sources(); ++i) {
      const auto size = static_cast<size_t>(m.samples_per_epoch(i));
      ASSERT_GT(taken[i].size(), 2 * size) << "two whole epochs, or this proves nothing";
      for (size_t first = 0; first + size <= taken[i].size(); first += size)
        EXPECT_EQ(std::set(taken[i].begin() + first, taken[i].begin() + first + size).size(), size)
            << "source " << i << " from " << first;
    }
  }
}

TEST(Mixture, OneSourceIsItsSamplerWhateverItsWeight) {
  const std::vector<int64_t> windows = {3, 0, 300, 17};
  const Sampler sampler(windows, 99);
  for (double weight : {1.0, 0.37, 1e-9, 1e15}) {
    const Mixture m({{windows, weight}}, 99);
    for (int64_t n : {0, 1, 2, 319, 320, 321, 5000, 1 << 30}) {
      EXPECT_EQ(m.at(n).source, 0);
      EXPECT_EQ(m.at(n).shard, sampler.at(n).shard);
      EXPECT_EQ(m.at(n).window, sampler.at(n).window);
      EXPECT_EQ(m.count(0, n), n);
    }
  }
}

TEST(Mixture, CountsAreThoseOfTheSamplesBeforeAlsoFarOut) {
  for (const std::vector<double>& weights : std::vector<std::vector<double>>{{0.7, 0.3}, {1, 100, 3}, {2, 2, 2, 1}}) {
    const Mixture m = mixture(weights);
    for (int64_t first : {int64_t{0}, int64_t{12345}, int64_t{1} << 40, INT64_MAX - 5000}) {
      std::vector<int64_t> counts;
      for (int64_t i = 0; i < m.sources(); ++i) counts.push_back(m.count(i, first));
      for (int64_t n = first; n < first + 300; ++n) {
        int64_t total = 0;
        for (int64_t i = 0; i < m.sources(); ++i) {
          EXPECT_EQ(m.count(i, n), counts[i]);
          total += counts[i];
        }
        EXPECT_EQ(total, n);
        ++counts[m.at(n).source];
      }
    }
  }
}

TEST(Mixture, OrderDependsOnTheRatioOfTheWeightsNotOnTheirSum) {
  const Mixture a = mixture({0.7, 0.2, 0.1}), b = mixture({7, 2, 1}), c = mixture({0.0021, 0.0006, 0.0003}),
                other = mixture({7, 1, 2});
  int differ = 0;
  for (int64_t n = 0; n < 500; ++n) {
    for (const Mixture* same : {&b, &c}) {
      EXPECT_EQ(a.at(n).source, same->at(n).source);
      EXPECT_EQ(a.at(n).window, same->at(n).window);
    }
    differ += a.at(n).source != other.at(n).source;
  }
  EXPECT_GT(differ, 0);
}

TEST(Mixture, SourcesOfOneSizeAreShuffledEachInItsWay) {
  const Mixture m({{{1000}, 1}, {{1000}, 1}}, 3);
  std::vector<int64_t> windows[2];
  for (int64_t n = 0; n < 2000; ++n) windows[m.at(n).source].push_back(m.at(n).window);
  int same = 0;
  for (size_t i = 0; i < 1000; ++i) same += windows[0][i] == windows[1][i];
  EXPECT_LT(same, 12);  // unrelated orders agree in one place on average; more than 12 in fewer than one of 10^9 pairs
}

TEST(Mixture, OrderIsTheOneItAlwaysWas) {
  // A resumed run goes on in this order: a change here changes every run on a mixture.
  Mixture m({{{3, 7}, 0.5}, {{4}, 0.3}, {{9}, 0.2}}, 1234);
  const auto order = [&] {
    std::vector<int64_t> order;
    for (int64_t n = 0; n < 20; ++n) order.push_back(m.at(n).source * 1000 + m.at(n).shard * 100 + m.at(n).window);
    return order;
  };
  EXPECT_EQ(order(), (std::vector<int64_t>{105, 1202, 0,   2300, 103, 1201, 106, 1200, 100, 2302,
                                           102, 1203, 101, 2303, 104, 1200, 1,   1203, 2,   2306}));
  m.set_order(SampleOrder::Network);
  EXPECT_EQ(order(), (std::vector<int64_t>{0,   1201, 103, 2303, 102, 1200, 100, 1203, 105, 2305,
                                           106, 1202, 101, 2301, 2,   1202, 104, 1200, 1,   2300}));
}

TEST(Mixture, RefusesWhatIsNoMixtureAndNamesTheSource) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (double weight : {0.0, -1.0, -0.0, nan, infinity, -infinity, 1e-7, 1e-300})
    EXPECT_NE(refusal([&] { Mixture({{{10}, 1}, {{10}, weight}}, 1); }).find("source 1"), std::string::npos) << weight;
  EXPECT_NE(refusal([&] {
              Mixture({{{10}, 1}, {{0, 0}, 1}}, 1);
            }).find("source 1 holds no whole sample"),
            std::string::npos);
  EXPECT_NE(refusal([&] { Mixture({{{0}, 1}}, 1); }).find("sequence_length"), std::string::npos);
  refusal([] { Mixture({}, 1); });
  EXPECT_NO_THROW(Mixture({{{10}, 1e308}, {{10}, 1e308}}, 1));
}

}  // namespace
}  // namespace gta
