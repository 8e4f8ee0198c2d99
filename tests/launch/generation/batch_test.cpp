#include "launch/generation/batch.h"

#include <cmath>

#include "core/allocator.h"
#include "core/parallel.h"
#include "tests/launch/generation/small_generator.h"

namespace gta {
namespace {

class BatchGeneration : public SmallGenerator {
 protected:
  BatchGeneration() { use_model(AttentionType::Gta); }
  // Prompts and answers of many lengths.
  std::vector<GenerationRequest> requests(size_t count, double temperature) const {
    const RandomStream random(9, "requests");
    std::vector<GenerationRequest> made;
    for (size_t i = 0; i < count; ++i)
      made.push_back(request(letters(random.bits(i) % 90, i), static_cast<int64_t>(1 + random.bits(i + 1000) % 40),
                             temperature, i));
    return made;
  }
  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<double> log_probabilities;
    std::string text;
    FinishReason reason;
    bool operator==(const Answer&) const = default;
  };
  static Answer answer_of(const Continuation& c) { return {c.picked(), c.log_probabilities(), c.text(), c.reason()}; }
  std::vector<Answer> answers(const std::vector<GenerationRequest>& requests, const BatchOptions& options) {
    std::vector<Answer> all(requests.size());
    std::vector<int> times(requests.size(), 0);
    order_.clear();
    report_ = generate_batch(*model_, tokenizer_, requests, options, [&](size_t index, const Continuation& answer) {
      all.at(index) = answer_of(answer);
      ++times.at(index);
      order_.push_back(index);
    });
    EXPECT_EQ(times, std::vector<int>(requests.size(), 1));
    return all;
  }

  BatchReport report_;
  std::vector<size_t> order_;  // in which answers ended
};

TEST_F(BatchGeneration, EachAnswerIsThatOfItsPromptAlone) {
  for (const AttentionType type : testing::kAttentionTypes)
    for (const double temperature : {0.0, 1.0}) {
      SCOPED_TRACE(fmt::format("{} at {}", name_of(type), temperature));
      use_model(type);
      const std::vector<GenerationRequest> asked = requests(13, temperature);
      const std::vector<Answer> together = answers(asked, {.batch_size = 12, .cache = {DType::F32, 16}});
      EXPECT_EQ(report_.most_at_once, 12);
      int64_t prompted = 0, picked = 0;
      for (size_t i = 0; i < asked.size(); ++i) {
        const Answer alone = answer_of(this->alone(asked[i], 16));
        EXPECT_EQ(together[i].tokens, alone.tokens) << i;
        EXPECT_EQ(together[i].text, alone.text);
        EXPECT_EQ(together[i].reason, alone.reason);
        ASSERT_EQ(together[i].log_probabilities.size(), alone.log_probabilities.size());
        for (size_t t = 0; t < alone.log_probabilities.size(); ++t)
          EXPECT_NEAR(together[i].log_probabilities[t], alone.log_probabilities[t], 1e-5);
        prompted += static_cast<int64_t>(asked[i].tokens.size());
        picked += static_cast<int64_t>(alone.tokens.size());
      }
      EXPECT_EQ(report_.prompt_tokens, prompted);
      EXPECT_EQ(report_.generated_tokens, picked);
    }
}

// As many as core/backends/cpu/few_rows_gemm.h takes at once: no answer has a bit of another.
TEST_F(BatchGeneration, AFewAtATimeGiveTheBitsOfEachAlone) {
  for (const AttentionType type : testing::kAttentionTypes) {
    use_model(type);
    const std::vector<GenerationRequest> asked = requests(11, 1.0);
    for (const int64_t size : {2, 8}) {
      const std::vector<Answer> together = answers(asked, {.batch_size = size, .cache = {DType::F32, 16}});
      EXPECT_EQ(report_.most_at_once, size);
      for (size_t i = 0; i < asked.size(); ++i)
        EXPECT_EQ(together[i], answer_of(alone(asked[i], 16))) << name_of(type) << ", " << size << " at once, " << i;
    }
  }
}

TEST_F(BatchGeneration, OneAtATimeGivesTheBitsOfEachAloneAndTheSameBatchTheSameBits) {
  for (const AttentionType type : {AttentionType::Gta, AttentionType::Mla}) {
    use_model(type);
    const std::vector<GenerationRequest> asked = requests(8, 1.0);
    const std::vector<Answer> one_by_one = answers(asked, {.batch_size = 1, .cache = {DType::F32, 7}});
    for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(one_by_one[i], answer_of(alone(asked[i], 7))) << i;
    const BatchOptions three{.batch_size = 3, .cache = {DType::F32, 7}};
    EXPECT_EQ(answers(asked, three), answers(asked, three));
  }
}

TEST_F(BatchGeneration, AnswersJoinAndLeaveAtAnyStep) {
  // One answer as long as the context allows, beside it many short ones.
  std::vector<GenerationRequest> asked;
  for (uint64_t seed = 0; asked.empty(); ++seed) {
    const GenerationRequest candidate = request("abc", 100, 1, seed);
    if (alone(candidate, 512).picked().size() == 100) asked.push_back(candidate);
  }
  for (uint64_t i = 0; i < 10; ++i) asked.push_back(request("ab", 4, 1, i));
  answers(asked, {.batch_size = 2, .cache = {DType::F32, 512}});
  EXPECT_EQ(order_.back(), 0u) << "the short ones do not wait for the long one";
  EXPECT_EQ(report_.most_at_once, 2);

  // A long prompt is computed in chunks, between which the others go on.
  asked = {request("abc", 5, 1, 1), request(letters(120, 1), 1, 1, 1)};
  ASSERT_GT(asked[1].tokens.size(), 40u);
  answers(asked, {.batch_size = 2, .cache = {DType::F32, 4}});
  EXPECT_EQ(order_, (std::vector<size_t>{0, 1}));
  answers(asked, {.batch_size = 2, .cache = {DType::F32, 512}});
  EXPECT_EQ(order_, (std::vector<size_t>{1, 0}));
}

TEST_F(BatchGeneration, TenThousandTokensOfAnswersThatComeAndGoTakeNoMoreMemory) {
  std::vector<GenerationRequest> asked;
  const RandomStream random(4, "requests");
  for (uint64_t i = 0; i < 700; ++i)
    asked.push_back(
        request(letters(random.bits(i) % 80, i), static_cast<int64_t>(1 + random.bits(i + 5000) % 70), 1, i));
  // How many threads work at once, each with some memory of its own, is a matter of time.
  const int before = threads();
  set_threads(1);
  std::vector<int64_t> in_use, held;
  int64_t tokens = 0;
  for (int round = 0; round < 2; ++round) {
    const BatchReport report =
        generate_batch(*model_, tokenizer_, asked, {.batch_size = 6, .cache = {DType::F32, 32}},
                       [&](size_t, const Continuation&) { in_use.push_back(memory_report(Device{}).total_in_use()); });
    tokens += report.generated_tokens;
    held.push_back(memory_report(Device{}).total_in_use() + memory_report(Device{}).pooled);
  }
  set_threads(before);
  ASSERT_GT(tokens, 20000);
  for (const int64_t bytes : in_use) ASSERT_EQ(bytes, in_use.front());
  EXPECT_EQ(held[1], held[0]) << "of every size that steps ask for there is a block by then";
}

TEST_F(BatchGeneration, ALongPromptTakesTheActivationsOfAChunk) {
  const auto peak = [&](int64_t chunk) {
    const std::vector<GenerationRequest> asked = {request(letters(130, 2), 1, 1, 1)};
    EXPECT_GT(asked[0].tokens.size(), 100u);
    const MemoryReport before = memory_report(Device{});
    reset_memory_peak(Device{});
    answers(asked, {.batch_size = 1, .cache = {DType::F32, chunk}});
    const int activations = static_cast<int>(Purpose::Activations);
    return memory_report(Device{}).peak[activations] - before.in_use[activations] - report_.cache_bytes;
  };
  const int64_t whole = peak(512), in_chunks = peak(8);
  EXPECT_LT(in_chunks * 4, whole);
}

TEST_F(BatchGeneration, RefusesACacheOfTooManyRows) {
  std::vector<GenerationRequest> asked;
  ModelConfig config = model_->config();
  config.max_sequence_length = 1 << 24;
  ParameterSpace space;
  const CausalLm long_model(space, config);
  for (int i = 0; i < 200; ++i) asked.push_back(request("abc", int64_t{1} << 40, 1, 1));
  try {
    generate_batch(long_model, tokenizer_, asked, {.batch_size = 200, .cache = {DType::F32, 8}}, {});
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("lower --batch-size or --max-tokens"), std::string::npos) << error.what();
  }
}

// Half of the room, and the same bits alone and at once as any cache has.
TEST_F(BatchGeneration, ACacheOfBfloat16AnswersWhateverIsAtOnceInHalfOfTheRoom) {
  for (const AttentionType type : testing::kAttentionTypes) {
    use_model(type);
    const std::vector<GenerationRequest> asked = requests(7, 1.0);
    const std::vector<Answer> exact = answers(asked, {.batch_size = 3, .cache = {DType::F32, 16}});
    const int64_t bytes = report_.cache_bytes;
    const CacheOptions rounded{DType::BF16, 16};
    const std::vector<Answer> together = answers(asked, {.batch_size = 3, .cache = rounded});
    EXPECT_EQ(report_.cache_bytes * 2, bytes);
    for (size_t i = 0; i < asked.size(); ++i)
      EXPECT_EQ(together[i], answer_of(alone(asked[i], rounded))) << name_of(type) << " " << i;
    EXPECT_NE(together, exact) << name_of(type);
  }
}

TEST(CacheOptions, ADtypeThatDoesNotGoWithThatOfComputeIsRefused) {
  EXPECT_EQ(cache_dtype("dtype", DType::F64), DType::F64);
  EXPECT_EQ(cache_dtype("dtype", DType::BF16), DType::BF16);
  EXPECT_EQ(cache_dtype("bfloat16", DType::F32), DType::BF16);
  EXPECT_EQ(cache_dtype("float32", DType::BF16), DType::F32);
  try {
    cache_dtype("float32", DType::F64);
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("--cache] float32 does not go with compute in float64"), std::string::npos)
        << error.what();
  }
}

// Sample i is the one of the seed SEED + i alone, bit for bit, though the prompt is computed once.
TEST_F(BatchGeneration, SamplesAreThoseOfTheirSeedsAlone) {
  for (const AttentionType type : testing::kAttentionTypes) {
    use_model(type);
    const GenerationRequest first = request(letters(60, 8), 30, 1, 100);
    std::vector<Answer> samples;
    generate_samples(*model_, tokenizer_, first.prompt, first.options, 5, {DType::F32, 16},
                     {.ends = [&](const Continuation& sample) { samples.push_back(answer_of(sample)); }});
    ASSERT_EQ(samples.size(), 5u);
    for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(samples[i], answer_of(alone(request(first.prompt, 30, 1, 100 + i), 16)));
    EXPECT_NE(samples[0].tokens, samples[1].tokens);
  }
}

TEST_F(BatchGeneration, AStopStringEndsTheTextBeforeItWhateverIsAtOnce) {
  const std::string whole = alone(request("abc", 60, 1, 3), 512).text();
  ASSERT_GT(whole.size(), 30u);
  // Begins inside of the text, where its first character was not before.
  const std::string stop = whole.substr(15, 9);
  GenerationRequest stopping = request("abc", 60, 1, 3);
  stopping.options.stop = {"never there", stop};
  std::string shown;
  std::optional<Continuation> end;
  generate_samples(
      *model_, tokenizer_, stopping.prompt, stopping.options, 1, {DType::F32, 512},
      {.emits = [&](const std::string& piece) { shown += piece; }, .ends = [&](const Continuation& c) { end = c; }});
  EXPECT_EQ(shown, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(end->text(), shown);
  EXPECT_EQ(end->reason(), FinishReason::Stop);
  EXPECT_EQ(end->picked().size(), end->log_probabilities().size());
  const std::vector<Answer> together =
      answers({stopping, request("q", 20, 1, 4), stopping}, {.batch_size = 2, .cache = {DType::F32, 512}});
  EXPECT_EQ(together[2].text, shown);
  EXPECT_EQ(together[2].reason, FinishReason::Stop);
}

}  // namespace
}  // namespace gta
