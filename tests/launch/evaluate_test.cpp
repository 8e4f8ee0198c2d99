#include "launch/evaluate.h"

#include <algorithm>
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

// As the loop of Hugging Face's guide to perplexity, whose max_length counts the label behind the last input too.
TEST_F(Evaluate, WithAStrideEveryTokenIsScoredOnceBehindTheContextOfASlidingWindow) {
  ASSERT_EQ(train(load({"train.steps=3"}), options("run")).outcome, TrainOutcome::Finished);
  const LoadedModel loaded = load_model(folder_ + "/run", "cpu");
  const std::string text = read_file(folder_ + "/text.txt").substr(0, 400);
  const std::vector<int32_t> tokens = loaded.tokenizer.encode_document(text);
  const auto count = static_cast<int64_t>(tokens.size());
  for (const auto& [window, stride] :
       std::vector<std::pair<int64_t, int64_t>>{{16, 5}, {16, 1}, {16, 16}, {7, 6}, {16, 15}}) {
    double total = 0;
    int64_t scored = 0;
    for (int64_t begin = 0, scored_to = 1; scored_to < count; begin += stride) {
      const int64_t end = std::min(begin + window + 1, count);
      EXPECT_TRUE(begin == 0 || scored_to - begin >= window - stride);
      const std::vector<int32_t> inputs(tokens.begin() + begin, tokens.begin() + end - 1);
      const Tensor logits =
          loaded.model->logits(Tensor::from<int32_t>({1, static_cast<int64_t>(inputs.size())}, inputs));
      for (; scored_to < end; ++scored_to, ++scored) {
        double sum = 0;
        const std::vector<double> row = to_doubles(logits.row_slice(scored_to - 1 - begin, 1));
        for (const double logit : row) sum += std::exp(logit);
        total += std::log(sum) - row[static_cast<size_t>(tokens[static_cast<size_t>(scored_to)])];
      }
    }
    EXPECT_EQ(scored, count - 1);
    const EvaluationSet set = EvaluationSet::from_text(text, loaded.tokenizer, window).with_stride(stride);
    const EvaluationResult result = evaluate(*loaded.model, set, 3, DocumentMask::Off);
    EXPECT_EQ(result.tokens, scored);
    EXPECT_EQ(result.bytes, static_cast<int64_t>(text.size()));
    EXPECT_NEAR(result.loss, total / static_cast<double>(scored), 1e-5) << window << " " << stride;
  }
  for (const int64_t stride : {0, 17})
    EXPECT_THROW(EvaluationSet::from_text(text, loaded.tokenizer, 16).with_stride(stride), Error);

  // The command, on a text and on shards.
  const std::string out = folder_ + "/out.txt";
  const auto said = [&](const std::string& more, int code = 0) {
    if (exists(out)) remove_tree(out);
    EXPECT_EQ(gta("eval " + folder_ + "/run " + more), code) << errors();
    return read_file(out);
  };
  publish_text(folder_ + "/part.txt", text);
  for (const std::string& what : {"--text " + folder_ + "/part.txt", std::string()}) {
    const std::string plain = said(what);
    EXPECT_EQ(said(what + " --stride 16"), plain);
    EXPECT_NE(said(what + " --stride 4"), plain);
    const auto counts = [](const std::string& line) { return line.substr(line.find(" (")); };
    EXPECT_EQ(counts(said(what + " --stride 4")), counts(plain)) << "as many tokens and bytes";
  }
  said("--stride 17", 2);
  EXPECT_NE(errors().find("--stride 17 is more than a window's 16 tokens"), std::string::npos) << errors();
  said("--stride 4 --max-tokens 100", 2);
  EXPECT_NE(errors().find("--stride scores all there is"), std::string::npos) << errors();
}

// As a program; the numbers themselves: tests/launch/tasks.
TEST_F(Evaluate, ATaskIsAFileOfQuestions) {
  ASSERT_EQ(train(load({"train.steps=3", "model.max_sequence_length=64"}), options("run")).outcome,
            TrainOutcome::Finished);
  const std::string task = folder_ + "/task.jsonl", out = folder_ + "/out.txt";
  const auto said = [&](const std::string& text, const std::string& more, int code = 0) {
    for (const std::string& path : {task, out, folder_ + "/err.txt"})
      if (exists(path)) remove_tree(path);
    publish_text(task, text);
    EXPECT_EQ(gta("eval " + folder_ + "/run --device cpu --task " + task + " " + more), code) << errors();
    return read_file(out);
  };
  const std::string two =
      "{\"context\": \"ab\", \"choices\": [\"c\", \"de\"], \"answer\": 0}\n{\"context\": \"ab\", \"choices\": [\"c\", "
      "\"de\"], \"answer\": 1}\n";
  EXPECT_EQ(said(two, ""),
            "plain of 2 items, acc 0.5000 +- 0.5000, acc_norm 0.5000 +- 0.5000, acc_bytes 0.5000 +- "
            "0.5000, acc_tokens 0.5000 +- 0.5000\n");
  EXPECT_EQ(
      said(two, "--json --task-fields plain --task-type multiple_choice"),
      "{\"fields\":\"plain\",\"type\":\"multiple_choice\",\"items\":2,\"acc\":0.5,\"acc_stderr\":0.5,\"acc_norm\":0.5,"
      "\"acc_norm_stderr\":0.5,\"acc_bytes\":0.5,\"acc_bytes_stderr\":0.5,\"acc_tokens\":0.5,\"acc_tokens_stderr\":"
      "0.5}\n");
  EXPECT_NE(said("{\"text\": \"ab c\"}\n", "--json").find("\"acc_stderr\":null,\"perplexity\":"), std::string::npos);
  EXPECT_EQ(errors(), "");
  std::string letters = read_file(folder_ + "/text.txt").substr(0, 200);
  letters.erase(std::remove(letters.begin(), letters.end(), '\n'), letters.end());
  said("{\"text\": \"" + letters + " c\"}\n", "");
  EXPECT_NE(errors().find("1 texts are longer than the model's 64 tokens: their beginning was cut off"),
            std::string::npos)
      << errors();
  const std::string solved = folder_ + "/solved.jsonl", from = " --few-shot-from " + solved;
  publish_text(solved, "{\"context\": \"" + letters + "\", \"choices\": [\"c\", \"d\"], \"answer\": 0}\n");
  said(two, "--few-shot 1" + from);
  EXPECT_NE(errors().find("4 texts are longer than the model's 64 tokens"), std::string::npos) << errors();
  said(two, "--few-shot 2" + from, 2);
  EXPECT_NE(errors().find("solved.jsonl] has 1 examples: expected at least the 2 of --few-shot"), std::string::npos)
      << errors();
  said(two, "--few-shot 1", 2);
  EXPECT_NE(errors().find("--few-shot N and --few-shot-from FILE go together"), std::string::npos) << errors();
  EXPECT_EQ(gta("eval " + folder_ + "/run --few-shot 1" + from), 2);
  said(two, "--task-type last_word", 2);
  EXPECT_NE(errors().find("--task-type last_word does not go with the fields of plain"), std::string::npos) << errors();
  said(two, "--task-fields piqa", 2);
  EXPECT_NE(errors().find("task.jsonl:2] has no field 'goal' (it has: context, choices, answer)"), std::string::npos)
      << errors();
  said(two, "--window 16", 2);
  said(two, "--text " + folder_ + "/text.txt", 2);
  said(two, "--max-tokens 3", 2);
  EXPECT_EQ(gta("eval " + folder_ + "/run --task-type last_word"), 2);
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
