#include "launch/tasks/task_scores.h"

#include <cmath>

#include "tests/launch/generation/small_generator.h"

namespace gta {
namespace {

class TaskScores : public SmallGenerator {
 protected:
  TaskScores() { use_model(AttentionType::Gta); }
  // Sum of log p of the last `scored` tokens, and whether each is the most probable: all computed at once, alone.
  PairScore brute_force(const std::vector<int32_t>& tokens, int64_t scored) const {
    const auto count = static_cast<int64_t>(tokens.size());
    const Tensor logits = model_->logits(Tensor::from<int32_t>({1, count}, tokens));
    PairScore score{0, true, scored};
    for (int64_t p = count - scored; p < count; ++p) {
      const std::vector<double> row = to_doubles(logits.row_slice(p - 1, 1));
      double sum = 0;
      for (const double logit : row) sum += std::exp(logit);
      score.log_probability += row[static_cast<size_t>(tokens[static_cast<size_t>(p)])] - std::log(sum);
      for (const double logit : row) score.greedy &= row[static_cast<size_t>(tokens[static_cast<size_t>(p)])] >= logit;
    }
    return score;
  }
  std::vector<int32_t> whole(const std::string& text) const {
    std::vector<int32_t> tokens = tokenizer_.encode(text);
    tokens.insert(tokens.begin(), tokenizer_.bos());
    return tokens;
  }
  // Choices of unequal lengths.
  Task questions(size_t count) const {
    const RandomStream random(21, "items");
    Task task{TaskFields::Plain, {}};
    for (size_t i = 0; i < count; ++i) {
      TaskItem item{"file:" + std::to_string(i + 1), {}, {}, random.bits(i) % 3};
      for (uint64_t c = 0; c < 3; ++c) {
        item.choices.push_back("q" + letters(random.bits(10 * i + c + 1000) % 12, 10 * i + c) +
                               (c == 1 ? "\u00e9" : ""));
        item.pairs.push_back({letters(random.bits(i + 50) % 40, i), " " + item.choices.back()});
      }
      task.items.push_back(item);
    }
    return task;
  }
};

TEST_F(TaskScores, EncodeAPairAsTheHarnessDoes) {
  const auto encode = [&](const std::string& context, const std::string& continuation, int64_t longest = 150) {
    return encode_pair(tokenizer_, {context, continuation}, longest, "file:1");
  };
  // White space at the end of the context belongs to the continuation.
  const EncodedPair pair = encode("abc de", " fg"), moved = encode("abc de  ", "fg");
  EXPECT_EQ(pair.tokens, whole("abc de fg"));
  EXPECT_EQ(pair.scored, static_cast<int64_t>(pair.tokens.size() - whole("abc de").size()));
  EXPECT_EQ(moved.tokens, whole("abc de  fg"));
  EXPECT_EQ(moved.scored, static_cast<int64_t>(moved.tokens.size() - whole("abc de").size()));
  // Without a context, BOS is it.
  const EncodedPair alone = encode("", " fg");
  EXPECT_EQ(alone.tokens, whole(" fg"));
  EXPECT_EQ(alone.scored, static_cast<int64_t>(alone.tokens.size()) - 1);
  // What is too long loses its beginning: as many inputs as the model sees.
  const std::string context = letters(100, 5);
  const EncodedPair cut = encode(context, " fg", 20);
  const std::vector<int32_t> all = whole(context + " fg");
  ASSERT_GT(all.size(), 21u);
  EXPECT_TRUE(cut.cut);
  EXPECT_EQ(cut.tokens, std::vector<int32_t>(all.end() - 21, all.end()));
  for (const auto& [continuation, longest] :
       std::vector<std::pair<std::string, int64_t>>{{"", 150}, {letters(60, 4), 20}}) {
    try {
      encode("abc", continuation, longest);
      ADD_FAILURE() << "expected an error";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).rfind("[file:1] has a choice of", 0), 0u) << error.what();
    }
  }
}

TEST_F(TaskScores, AreThoseOfEachPairAloneAndAccuraciesCountThem) {
  for (const AttentionType type : testing::kAttentionTypes) {
    SCOPED_TRACE(name_of(type));
    use_model(type);
    const Task task = questions(40);
    double right[4] = {};
    std::vector<EncodedPair> pairs;
    for (const TaskItem& item : task.items)
      for (const TaskItem::Pair& pair : item.pairs)
        pairs.push_back(encode_pair(tokenizer_, pair, kLongest, item.place));
    const std::vector<PairScore> scores = score_pairs(*model_, pairs);
    int64_t at = 0;
    for (const TaskItem& item : task.items) {
      double best[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
      size_t chosen[4] = {};
      for (size_t c = 0; c < 3; ++c, ++at) {
        const EncodedPair& pair = pairs[static_cast<size_t>(at)];
        const PairScore expected = brute_force(pair.tokens, pair.scored), &got = scores[static_cast<size_t>(at)];
        EXPECT_NEAR(got.log_probability, expected.log_probability, 1e-4);
        EXPECT_EQ(got.greedy, expected.greedy);
        EXPECT_EQ(got.tokens, expected.tokens);
        const std::string& choice = item.choices[c];
        const auto bytes = static_cast<double>(choice.size());
        const double lengths[4] = {1, c == 1 ? bytes - 1 : bytes, bytes, static_cast<double>(expected.tokens)};
        for (int n = 0; n < 4; ++n)
          if (expected.log_probability / lengths[n] > best[n]) {
            best[n] = expected.log_probability / lengths[n];
            chosen[n] = c;
          }
      }
      for (int n = 0; n < 4; ++n) right[n] += chosen[n] == item.answer;
    }
    const TaskResult result = evaluate_task(*model_, tokenizer_, task);
    EXPECT_EQ(result.items, 40);
    EXPECT_EQ(result.cut, 0);
    const Mean means[4] = {result.acc, result.acc_norm, result.acc_bytes, result.acc_tokens};
    for (int n = 0; n < 4; ++n) {
      const double p = right[n] / 40;
      EXPECT_NEAR(means[n].value, p, 1e-12) << n;
      EXPECT_NEAR(means[n].standard_error, std::sqrt(p * (1 - p) / 39), 1e-12) << n;
    }
    EXPECT_NE(right[0], right[1]) << "lengths count";
  }
}

TEST_F(TaskScores, ALastWordIsRightWhereEachOfItsTokensIsTheMostProbable) {
  Task task{TaskFields::Lambada, {}};
  const RandomStream random(2, "items");
  double sum = 0, squares = 0;
  // Of every other text the last word is what the model continues it with.
  for (uint64_t i = 0; i < 12; ++i) {
    const std::string context = "a" + letters(30, i);
    GenerationRequest greedy = request(context + " ", 4, 0, 1);
    std::string word = i % 2 ? letters(3, i + 100) : alone(greedy, 512).text();
    if (word.empty()) word = "q";
    TaskItem item{"file:1", {{context, " " + word}}, {word}, 0};
    task.items.push_back(item);
  }
  double right = 0;
  for (const TaskItem& item : task.items) {
    const EncodedPair pair = encode_pair(tokenizer_, item.pairs[0], kLongest, item.place);
    const PairScore score = brute_force(pair.tokens, pair.scored);
    right += score.greedy;
    sum += score.log_probability;
    squares += score.log_probability * score.log_probability;
  }
  const TaskResult result = evaluate_task(*model_, tokenizer_, task);
  EXPECT_NEAR(result.acc.value, right / 12, 1e-12);
  EXPECT_NEAR(result.perplexity.value / std::exp(-sum / 12), 1, 1e-4);
  EXPECT_NEAR(result.perplexity.standard_error / std::exp(-sum / 12), std::sqrt((squares - sum * sum / 12) / 11 / 12),
              1e-3);
}

TEST_F(TaskScores, OneItemHasNoStandardError) {
  EXPECT_TRUE(std::isnan(evaluate_task(*model_, tokenizer_, questions(1)).acc.standard_error));
}

}  // namespace
}  // namespace gta
