#include "launch/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
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
    for (size_t t = 0; t < counts.size(); ++t) EXPECT_NEAR(counts[t] / 100000, std::exp(kLogits[t] / temperature) / sum, 1e-4) << t;
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
      text += std::string(1, static_cast<char>('a' + random.bits(i) % 17)) + (random.bits(i + 100000) % 4 == 0 ? " " : "");
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
    generate(model_, space_, tokenizer_, prompt, options, [&](const std::string&) { ++pieces; });
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
    generate(model_, space_, tokenizer_, "abc", options, [&](const std::string& piece) { text += piece; });
    without_text += text.empty();
  }
  EXPECT_LT(without_text, 10);
}

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
