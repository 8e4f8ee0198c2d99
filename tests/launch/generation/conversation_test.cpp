#include "launch/generation/conversation.h"

#include <algorithm>

#include "tests/launch/generation/small_generator.h"

namespace gta {
namespace {

using Outcome = Conversation::Outcome;

class ConversationTest : public SmallGenerator {
 protected:
  ConversationTest() {
    use_model(AttentionType::Gta);
    options_.temperature = 0;
    options_.max_tokens = 6;
  }
  Conversation::Turn say(Conversation& conversation, const std::string& line) {
    said_.clear();
    return conversation.answer(
        line, [&](const std::string& piece) { said_ += piece; }, [] { return false; });
  }
  // What the model finds most probable behind the first `count` of these tokens, all computed afresh.
  int32_t next_of(const std::vector<int32_t>& tokens, int64_t count) const {
    const std::vector<float> logits = logits_row(
        model_->logits(Tensor::from<int32_t>({1, count}, {tokens.begin(), tokens.begin() + count})), count - 1);
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.begin() + tokenizer_.vocab_size()) -
                                logits.begin());
  }

  SamplingOptions options_;
  std::string said_;
};

TEST_F(ConversationTest, EachAnswerContinuesAllThatWasSaidAndNothingIsComputedTwice) {
  Conversation conversation(*model_, tokenizer_, options_, {DType::F32, 4});
  size_t before = 0;
  for (const char* line : {"abc defg", "", "hijk a b c", "d"}) {
    say(conversation, line);
    const std::vector<int32_t>& tokens = conversation.tokens();
    ASSERT_GT(tokens.size(), before + 6);
    for (size_t i = tokens.size() - 6; i < tokens.size(); ++i)
      EXPECT_EQ(tokens[i], next_of(tokens, static_cast<int64_t>(i))) << line << " " << i;
    EXPECT_EQ(conversation.computed(), static_cast<int64_t>(tokens.size()) - 1) << "the last one is not computed yet";
    before = tokens.size();
  }
  // The lines are in the text, each behind a line end.
  const std::string text = tokenizer_.decode(conversation.tokens());
  EXPECT_EQ(text.find("abc defg"), 0u) << text;
  EXPECT_NE(text.find("\nhijk a b c"), std::string::npos) << text;
}

TEST_F(ConversationTest, BeginsANewTextWhereTheContextIsFull) {
  options_.max_tokens = 60;
  Conversation conversation(*model_, tokenizer_, options_, {DType::F32, 512});
  int answers = 0;
  while (say(conversation, "abc").outcome != Outcome::Full) ASSERT_LT(++answers, 10);
  EXPECT_EQ(conversation.tokens().size(), static_cast<size_t>(kLongest) + 1) << "the last one needs no place";
  EXPECT_TRUE(say(conversation, "abc").began_anew);
  EXPECT_LT(conversation.tokens().size(), 100u);
  // A line that does not fit behind the text, and one that fits nowhere.
  EXPECT_FALSE(say(conversation, "d").began_anew);
  std::string line = letters(150, 3);
  while (tokenizer_.encode(line).size() + 1 > kLongest) line.pop_back();
  EXPECT_TRUE(say(conversation, line).began_anew);
  const std::vector<int32_t> before = conversation.tokens();
  EXPECT_THROW(say(conversation, letters(2000, 4)), Error);
  EXPECT_THROW(say(conversation, "a\xff"), Error);
  EXPECT_EQ(conversation.tokens(), before) << "what is not taken changes nothing";
}

TEST_F(ConversationTest, AnAnswerThatIsStoppedStaysAsFarAsItCame) {
  options_.max_tokens = 40;
  Conversation whole(*model_, tokenizer_, options_, {DType::F32, 512}),
      stopped(*model_, tokenizer_, options_, {DType::F32, 512});
  say(whole, "abc");
  int asked = 0;
  const auto stop = [&] { return ++asked > 4; };
  EXPECT_EQ(stopped
                .answer(
                    "abc", [](const std::string&) {}, stop)
                .outcome,
            Outcome::Stopped);
  ASSERT_LT(stopped.tokens().size(), whole.tokens().size());
  EXPECT_TRUE(std::equal(stopped.tokens().begin(), stopped.tokens().end(), whole.tokens().begin()));
  // Before anything was computed, too.
  EXPECT_EQ(stopped
                .answer(
                    "xyz", [](const std::string&) {}, [] { return true; })
                .outcome,
            Outcome::Stopped);
  const int64_t computed = stopped.computed();
  say(stopped, "q");
  const std::vector<int32_t>& tokens = stopped.tokens();
  EXPECT_EQ(tokens.back(), next_of(tokens, static_cast<int64_t>(tokens.size()) - 1));
  EXPECT_GT(stopped.computed(), computed);
  EXPECT_EQ(stopped.computed(), static_cast<int64_t>(tokens.size()) - 1);
}

// The end of a document is no part of a text that goes on; here nothing is, and an empty line adds nothing.
TEST_F(ConversationTest, GoesOnBehindTheEndOfADocument) {
  options_.temperature = 100;
  while (alone(request("", 1, 100, options_.seed), 512).reason() != FinishReason::End) ++options_.seed;
  Conversation conversation(*model_, tokenizer_, options_, {DType::F32, 512});
  EXPECT_EQ(say(conversation, "").outcome, Outcome::Ended);
  EXPECT_EQ(conversation.tokens(), std::vector<int32_t>{tokenizer_.bos()});
  say(conversation, "");
  EXPECT_GT(conversation.tokens().size(), 1u);
}

// As samples: the second answer to the same line is another.
TEST_F(ConversationTest, EveryAnswerHasASeedOfItsOwn) {
  options_.temperature = 1;
  options_.max_tokens = 10;
  Conversation one(*model_, tokenizer_, options_, {DType::F32, 512});
  say(one, "abc");
  const std::string first = said_;
  EXPECT_EQ(first, alone(request("abc", 10, 1, options_.seed), 512).text());
  say(one, "abc");
  EXPECT_NE(said_, first);
}

}  // namespace
}  // namespace gta
