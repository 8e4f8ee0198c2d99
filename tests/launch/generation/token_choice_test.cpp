#include "launch/generation/token_choice.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/io/file.h"
#include "core/random.h"

namespace gta {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// As tests/interop/sampling_cases.py makes them.
std::vector<float> made_logits(uint64_t seed, size_t vocab, int shift) {
  std::vector<float> logits;
  for (uint64_t state = seed; logits.size() < vocab;) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    logits.push_back(static_cast<float>((static_cast<double>(state >> 40) / (1 << 20) - 8) / (1 << shift)));
  }
  return logits;
}

std::set<int32_t> tokens_of(const std::vector<Candidate>& all) {
  std::set<int32_t> tokens;
  for (const Candidate& one : all) tokens.insert(one.token);
  return tokens;
}

TEST(TokenChoice, LeavesTheTokensAndProbabilitiesThatTransformersProcessorsLeave) {
  const auto cases =
      nlohmann::json::parse(read_file(std::string(GTA_SOURCE_DIR) + "/tests/launch/generation/sampling_cases.json"));
  ASSERT_GT(cases.size(), 50u);
  for (const auto& c : cases) {
    const TokenChoice choice{c["temperature"], c["top_k"], c["top_p"], c["min_p"], c["repetition_penalty"]};
    const std::vector<Candidate> left =
        candidates(made_logits(c["seed"], c["vocab"], c["shift"]), choice, c["earlier"].get<std::vector<int32_t>>());
    SCOPED_TRACE(c["seed"].dump());
    ASSERT_EQ(left.size(), c["kept"].get<size_t>());
    int64_t sum = 0;
    double mass = 0;
    for (const Candidate& one : left) {
      sum += one.token;
      mass += one.probability;
    }
    EXPECT_EQ(sum, c["sum"].get<int64_t>());
    EXPECT_NEAR(mass, 1, 1e-12);
    for (size_t i = 0; i < c["tokens"].size(); ++i) {
      EXPECT_EQ(left[i].token, c["tokens"][i].get<int32_t>()) << i;
      // A penalised logit is a float32 again: half a unit in its last place, over the temperature.
      EXPECT_NEAR(left[i].probability / c["probabilities"][i].get<double>(), 1, 1e-5) << i;
    }
  }
}

TEST(TokenChoice, OfEqualLogitsExactlyKStayTheFirst) {
  EXPECT_EQ(tokens_of(candidates({1, 5, 5, 5, 0}, {.temperature = 1, .top_k = 2})), (std::set<int32_t>{1, 2}));
}

TEST(TokenChoice, MinPKeepsWhatHasThatPartOfTheMostProbable) {
  const auto weight = [](double part) { return static_cast<float>(std::log(part)); };
  const std::vector<float> logits = {weight(0.1), weight(1.0), weight(0.6), weight(0.3)};
  EXPECT_EQ(tokens_of(candidates(logits, {.temperature = 1, .min_p = 0.5})), (std::set<int32_t>{1, 2}));
  EXPECT_EQ(tokens_of(candidates(logits, {.temperature = 1, .min_p = 0.2})), (std::set<int32_t>{1, 2, 3}));
  EXPECT_EQ(tokens_of(candidates(logits, {.temperature = 1, .min_p = 1})), std::set<int32_t>{1});
}

TEST(TokenChoice, ThePenaltyCountsATokenOnceAndMovesEverySignDown) {
  const TokenChoice greedy{.temperature = 0, .repetition_penalty = 2};
  EXPECT_EQ(pick_token({4, 3, 1}, greedy, 0, std::vector<int32_t>{0}), 1) << "4 / 2 is below 3";
  EXPECT_EQ(pick_token({4, 1.9f, 1}, greedy, 0, std::vector<int32_t>{0, 0, 0}), 0)
      << "4 / 2 is above 1.9, 4 / 8 is not";
  EXPECT_EQ(pick_token({-1, -1.5f}, greedy, 0, std::vector<int32_t>{0}), 1) << "-1 * 2 is below -1.5";
  EXPECT_EQ(pick_token({kNever, -1.5f}, {.temperature = 1, .repetition_penalty = 2}, 0.5, std::vector<int32_t>{0}), 1);
}

TEST(TokenChoice, CutsOfAFlatVocabularyAreThoseOfASort) {
  const RandomStream random(5, "logits");
  for (const size_t vocab : {63u, 64u, 65u, 129u, 5000u}) {
    std::vector<float> logits;
    for (size_t i = 0; i < vocab; ++i) logits.push_back(static_cast<float>(random.uniform(i)) * 0.01f);
    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (const double top_p : {0.01, 0.5, 0.999}) {
      const std::vector<Candidate> left = candidates(logits, {.temperature = 1, .top_p = top_p});
      for (size_t i = 0; i < left.size(); ++i) ASSERT_EQ(left[i].token, order[i]) << vocab << " " << top_p;
      EXPECT_NEAR(static_cast<double>(left.size()) / static_cast<double>(vocab), top_p,
                  0.02 + 1.0 / static_cast<double>(vocab));
    }
  }
}

TEST(TokenChoice, LogProbabilitiesAreThoseOfTheModel) {
  const std::vector<float> logits = {0, std::log(2.0f), kNever, std::log(5.0f)};
  EXPECT_NEAR(log_probability(logits, 1), std::log(0.25), 1e-6);
  EXPECT_NEAR(log_probability({1000, 999}, 1), -1 - std::log1p(std::exp(-1.0)), 1e-9);
}

}  // namespace
}  // namespace gta
