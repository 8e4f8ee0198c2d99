#include "launch/evaluate.h"

#include <cmath>
#include <cstdio>

#include "launch/loaded_model.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

using Evaluate = SmallRun;

TEST_F(Evaluate, IsTheMeanOverEveryScoredTokenInAnyBatchSize) {
  ASSERT_EQ(train(load({"train.steps=3"}), options("run")).outcome, TrainOutcome::Finished);
  const LoadedModel loaded = load_model(folder_ + "/run", "cpu");
  const std::string text = read_file(folder_ + "/text.txt").substr(0, 1500);
  const EvaluationSet set = EvaluationSet::from_text(text, loaded.tokenizer, 16);
  ASSERT_GT(set.windows(), 11);
  double total = 0;
  for (int64_t w = 0; w < set.windows(); ++w) {
    std::vector<int32_t> tokens(16), labels(16);
    set.window(w, tokens.data(), labels.data());
    Tape tape(TapeMode::Inference);
    total +=
        loaded.model->loss(tape, Tensor::from<int32_t>({1, 16}, tokens), Tensor::from<int32_t>({1, 16}, labels), 1.0)
            .to_vector<double>()[0];
  }
  for (int64_t batch : {int64_t{1}, int64_t{5}, set.windows(), int64_t{1000}}) {
    const EvaluationResult result = evaluate(*loaded.model, set, batch, DocumentMask::Off);
    EXPECT_EQ(result.tokens, set.scored_tokens());
    EXPECT_EQ(result.bytes, static_cast<int64_t>(text.size()));
    // Float32 products of other shapes.
    EXPECT_NEAR(result.loss, total / static_cast<double>(set.scored_tokens()), 1e-5) << batch;
  }
}

// However long the window is that was asked for.
TEST_F(Evaluate, ComputesNoMoreThanThereIs) {
  ASSERT_EQ(train(load({"train.steps=3"}), options("run")).outcome, TrainOutcome::Finished);
  const LoadedModel loaded = load_model(folder_ + "/run", "cpu", {"model.max_sequence_length=16777216"});
  const std::string text = read_file(folder_ + "/text.txt").substr(0, 40);
  const EvaluationSet set = EvaluationSet::from_text(text, loaded.tokenizer, 1 << 24);
  ASSERT_EQ(set.windows(), 1);
  EXPECT_EQ(set.sequence_length(), set.scored_tokens());
  const EvaluationSet padded = EvaluationSet::from_text(text, loaded.tokenizer, set.scored_tokens());
  EXPECT_EQ(evaluate(*loaded.model, set, 8, DocumentMask::Off).loss,
            evaluate(*loaded.model, padded, 8, DocumentMask::Off).loss);
}

TEST_F(Evaluate, WithoutDataIsTheRunsOwnValidationSetWhole) {
  train(load({"train.steps=3"}), options("run"));
  train(load({"train.steps=3", "data.validation=[]"}), options("none"));
  const std::string out = folder_ + "/out.txt", shard = folder_ + "/shards/train-00000.h5";
  const auto said = [&](const std::string& more) {
    if (exists(out)) remove_tree(out);
    EXPECT_EQ(gta("eval " + folder_ + "/run " + more), 0) << errors();
    return read_file(out);
  };
  const std::string whole = said("");
  EXPECT_EQ(whole, said("--data " + shard));
  EXPECT_EQ(whole.find(" of "), std::string::npos) << whole;
  const std::string part = said("--max-tokens 100");
  EXPECT_NE(part, whole);
  EXPECT_NE(part.find("(100 tokens of 56"), std::string::npos) << part;
  EXPECT_NE(said("--max-tokens 100 --json").find("\"tokens\":100,\"tokens_in_all\":56"), std::string::npos);
  EXPECT_EQ(gta("eval " + folder_ + "/none"), 2);
  EXPECT_NE(errors().find("the run has no validation set (data.validation): expected --data SHARDS or --text FILE"),
            std::string::npos)
      << errors();
  ASSERT_EQ(::rename(shard.c_str(), (folder_ + "/moved.h5").c_str()), 0);
  EXPECT_EQ(gta("eval " + folder_ + "/run"), 2);
  EXPECT_NE(errors().find("the run's validation set is not there any more: " + shard + "; say where it is with --data"),
            std::string::npos)
      << errors();
  EXPECT_EQ(whole, said("--data " + folder_ + "/moved.h5"));
}

TEST(EvaluationResult, HasPerplexityAndBitsPerByte) {
  EvaluationResult result;
  result.loss = std::log(8.0);
  result.tokens = 10;
  result.bytes = 20;
  EXPECT_NEAR(result.perplexity(), 8, 1e-12);
  EXPECT_NEAR(result.bits_per_byte(), 1.5, 1e-12) << "ten tokens of three bits in twenty bytes";
}

}  // namespace
}  // namespace gta
