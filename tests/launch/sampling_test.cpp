#include "launch/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <set>

#include "core/io/file.h"
#include "core/random.h"

namespace gta {
namespace {

// What is picked over many draws.
std::set<int32_t> picked(const std::vector<float>& logits, const SamplingOptions& options) {
  std::set<int32_t> tokens;
  for (int i = 0; i < 1000; ++i) tokens.insert(pick_token(logits, options, i / 1000.0));
  return tokens;
}

SamplingOptions sampling(double temperature, int64_t top_k, double top_p) {
  SamplingOptions options;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  return options;
}

const std::vector<float> kLogits = {0, 3, 1, 2, 3};  // two share the first place

TEST(PickToken, WithoutTemperatureTheFirstOfTheMostProbableIsPicked) {
  EXPECT_EQ(picked(kLogits, sampling(0, 0, 1)), std::set<int32_t>{1});
}

TEST(PickToken, TopKAndTopPCutTheTail) {
  EXPECT_EQ(picked(kLogits, sampling(1, 0, 1)).size(), 5u);
  EXPECT_EQ(picked(kLogits, sampling(1, 3, 1)), (std::set<int32_t>{1, 3, 4}));
  EXPECT_EQ(picked(kLogits, sampling(1, 100, 1)).size(), 5u);
  // Probabilities 0.40, 0.40, 0.15, ...: half of it is in two, and the smallest set is never empty.
  EXPECT_EQ(picked(kLogits, sampling(1, 0, 0.5)), (std::set<int32_t>{1, 4}));
  EXPECT_EQ(picked(kLogits, sampling(1, 0, 0)), std::set<int32_t>{1});
}

TEST(PickToken, DrawsWithTheProbabilitiesOfTheSoftmax) {
  for (double temperature : {0.5, 1.0, 2.0}) {
    std::vector<double> counts(5);
    for (int i = 0; i < 100000; ++i) ++counts[pick_token(kLogits, sampling(temperature, 0, 1), (i + 0.5) / 100000)];
    double sum = 0;
    for (float logit : kLogits) sum += std::exp(logit / temperature);
    for (size_t t = 0; t < counts.size(); ++t)
      EXPECT_NEAR(counts[t] / 100000, std::exp(kLogits[t] / temperature) / sum, 1e-4) << t;
  }
}

// The definition: everything sorted.
int32_t picked_from_sorted(const std::vector<float>& logits, const SamplingOptions& options, double random) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(options.top_k)));
  const auto weight = [&](int32_t id) { return std::exp((logits[id] - logits[order[0]]) / options.temperature); };
  double total = 0, nucleus = 0;
  for (int32_t id : order) total += weight(id);
  for (size_t i = 0; i < order.size(); ++i)
    if ((nucleus += weight(order[i])) >= options.top_p * total) order.resize(i + 1);
  double target = random * nucleus;
  for (int32_t id : order)
    if ((target -= weight(id)) < 0) return id;
  return order.back();
}

TEST(PickToken, PicksWhatASortOfTheWholeVocabularyWould) {
  const RandomStream random(11, "logits");
  for (uint64_t c = 0; c < 300; ++c) {
    std::vector<float> logits(1 + random.bits(c) % 400);
    // Coarse steps, so that there are ties.
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(random.bits(1000 * (c + 1) + i) % 40) / 4;
    const SamplingOptions options = sampling(0.25 * static_cast<double>(1 + c % 6),
                                             static_cast<int64_t>(c % 3 == 0 ? 0 : random.bits(c + 5000) % 500),
                                             c % 4 == 0 ? 1.0 : random.uniform(c + 7000));
    for (int i = 0; i < 40; ++i) {
      const double draw = (i + 0.5) / 40;
      ASSERT_EQ(pick_token(logits, options, draw), picked_from_sorted(logits, options, draw))
          << "case " << c << ", draw " << draw;
    }
  }
}

TEST(PickToken, NeverPicksAnImpossibleToken) {
  const float never = -std::numeric_limits<float>::infinity();
  const std::vector<float> logits = {never, 1, never, 0.5, never};
  for (const SamplingOptions& options : {sampling(0, 0, 1), sampling(1, 0, 1), sampling(1, 4, 1),
                                         sampling(1, 0, 0.999999), sampling(1e-300, 0, 1), sampling(1000, 0, 1)})
    for (double random : {0.0, 0.5, 1 - 1e-16, 1.0}) {
      const int32_t token = pick_token(logits, options, random);
      EXPECT_TRUE(token == 1 || token == 3) << token;
    }
}

TEST(PickToken, LogitsThatAreNotFiniteAreAFailureAndNoToken) {
  const float never = -std::numeric_limits<float>::infinity();
  for (const std::vector<float>& logits :
       {std::vector<float>{1, NAN, 2}, {NAN, NAN, NAN}, {1, -never, 2}, {never, never}})
    for (const SamplingOptions& options : {sampling(0, 0, 1), sampling(1, 0, 1), sampling(1, 2, 0.5)}) {
      try {
        pick_token(logits, options, 0.5);
        ADD_FAILURE() << "a token was picked";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Failed);
        EXPECT_NE(std::string(error.what()).find("its weights have diverged"), std::string::npos) << error.what();
      }
    }
}

// A model of random weights, whose vocabulary is larger than the tokenizer's.
class Generate : public testing::Test {
 protected:
  static Tokenizer tokenizer() {
    const std::string folder = testing::TempDir() + "/gta-generate-" + std::to_string(getpid());
    make_directories(folder);
    const RandomStream random(3, "text");
    std::string text;
    for (uint64_t i = 0; i < 6000; ++i)
      text +=
          std::string(1, static_cast<char>('a' + random.bits(i) % 17)) + (random.bits(i + 100000) % 4 == 0 ? " " : "");
    train_tokenizer({text}, 300, folder + "/t.model");
    const Tokenizer trained = Tokenizer::load(folder + "/t.model");
    remove_tree(folder);
    return trained;
  }
  static ModelConfig config() {
    ModelConfig c;
    c.hidden_size = 16;
    c.layers = 1;
    c.intermediate_size = 16;
    c.heads = 2;
    c.head_dim = 8;
    c.vocab_size = 400;
    c.max_sequence_length = 150;
    return c;
  }
  Generate() : model_(space_, config()) {
    space_.allocate(DType::F32, Device{}, SpaceUse::Inference);
    space_.initialize(5);
  }
  int64_t tokens_of(const std::string& prompt, int64_t most, uint64_t seed) const {
    SamplingOptions options = sampling(100, 0, 1);  // as good as even
    options.max_tokens = most;
    options.seed = seed;
    int64_t pieces = 0;
    generate(model_, tokenizer_, prompt, options, [&](const std::string&) { ++pieces; });
    return pieces;
  }

  ParameterSpace space_;
  CausalLm model_;
  const Tokenizer tokenizer_ = tokenizer();
};

TEST_F(Generate, EndsAtTheTokensAskedForAtTheEndOfADocumentAndAtTheModelsLength) {
  const auto prompt = static_cast<int64_t>(tokenizer_.encode("abc").size()) + 1;  // and BOS
  int64_t shortest = 1000, longest = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_LE(tokens_of("abc", 7, seed), 7);
    const int64_t pieces = tokens_of("abc", 1000, seed);  // a token that the tokenizer lacks would be an error
    shortest = std::min(shortest, pieces);
    longest = std::max(longest, pieces);
  }
  EXPECT_EQ(longest, 150 - prompt + 1) << "the last one needs no place";
  EXPECT_LT(shortest, longest) << "of twenty, some draw the end of the document among 300 tokens";
}

// A byte that begins a character, and nothing after it: of 200 single tokens only the control tokens give no text.
TEST_F(Generate, TextThatEndsInsideACharacterIsNotLost) {
  int without_text = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SamplingOptions options = sampling(100, 0, 1);
    options.max_tokens = 1;
    options.seed = seed;
    std::string text;
    generate(model_, tokenizer_, "abc", options, [&](const std::string& piece) { text += piece; });
    without_text += text.empty();
  }
  EXPECT_LT(without_text, 10);
}

TEST_F(Generate, GoesOnFromAPromptThatFillsTheModelsContext) {
  std::string text;
  while (tokenizer_.encode(text).size() + 1 < 150) text += "q";
  ASSERT_EQ(tokenizer_.encode(text).size() + 1, 150u);
  EXPECT_EQ(tokens_of(text, 5, 2), 1) << "the last token needs no place";
  try {
    tokens_of(text + "q w q w", 5, 1);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(
        std::string(error.what()).find("the model sees at most 150: shorten it, or raise model.max_sequence_length"),
        std::string::npos)
        << error.what();
  }
}

// next.size() + max_tokens would be negative.
TEST_F(Generate, TakesAnyNumberOfTokens) { EXPECT_GT(tokens_of("abc", std::numeric_limits<int64_t>::max(), 3), 0); }

TEST_F(Generate, RefusesAPromptThatTheModelCannotSee) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "q w ";
  try {
    tokens_of(text, 5, 1);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("the model sees at most 150"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace gta
