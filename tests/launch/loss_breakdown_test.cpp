// Losses by position and by length of the document.
#include "launch/loss_breakdown.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "launch/evaluate.h"
#include "launch/loaded_model.h"
#include "tests/checkpoints/as_ranks.h"
#include "tests/launch/event_file_reader.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

TEST(LossBreakdown, HasBucketsThatDouble) {
  LossBreakdown breakdown;
  EXPECT_TRUE(breakdown.buckets().empty());
  for (int64_t position = 1; position <= 20; ++position)
    breakdown.add(position, 16 * position, static_cast<double>(position));
  std::vector<std::string> names;
  int64_t tokens = 0;
  for (const LossBreakdown::Bucket& bucket : breakdown.buckets()) {
    names.push_back(bucket.name());
    tokens += bucket.tokens;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"loss/position/1", "loss/position/2", "loss/position/3-4",
                                             "loss/position/5-8", "loss/position/9-16", "loss/position/17-32",
                                             "loss/document/1-32", "loss/document/33-64", "loss/document/65-128",
                                             "loss/document/129-256", "loss/document/257-512"}));
  EXPECT_EQ(tokens, 40);
  EXPECT_EQ(breakdown.values().at("loss/position/3-4"), 3.5);
  EXPECT_EQ(breakdown.values().at("loss/position/17-32"), 18.5);
  EXPECT_EQ(breakdown.values().at("loss/document/1-32"), 1.5);
  EXPECT_EQ(breakdown.values().at("loss/document/33-64"), 3.5);
  LossBreakdown other;
  other.add(3, std::numeric_limits<int64_t>::max(), 10.5);
  other.add(breakdown);
  EXPECT_EQ(other.values().at("loss/position/3-4"), (3 + 4 + 10.5) / 3);
  EXPECT_EQ(other.buckets().back().last, std::numeric_limits<int64_t>::max());
  breakdown.add(1, 1, NAN);
  EXPECT_TRUE(std::isnan(breakdown.values().at("loss/position/1")));
}

class Breakdown : public SmallRun {
 protected:
  LoadedModel trained() {
    EXPECT_EQ(train(load({"train.steps=3"}), options("run")).outcome, TrainOutcome::Finished);
    return load_model(folder_ + "/run", "cpu");
  }
};

void expect_means_to_be_the_loss(const EvaluationResult& result) {
  double of_positions = 0, of_documents = 0;
  int64_t tokens = 0;
  for (const LossBreakdown::Bucket& bucket : result.breakdown.buckets()) {
    const bool position = std::string(bucket.kind) == "position";
    (position ? of_positions : of_documents) += bucket.loss * static_cast<double>(bucket.tokens);
    if (position) tokens += bucket.tokens;
  }
  EXPECT_EQ(tokens, result.tokens);
  const double total = result.loss * static_cast<double>(result.tokens);
  EXPECT_NEAR(of_positions, total, 1e-12 * total);
  EXPECT_NEAR(of_documents, total, 1e-12 * total);
}

// By the logits of one window after the other, and the documents' own offsets.
TEST_F(Breakdown, IsTheLossOfEachTokenByWhereItStands) {
  const LoadedModel loaded = trained();
  const std::string shard = folder_ + "/shards/documents-00000.h5";
  const TokenShard documents(shard);
  std::vector<int32_t> ids(documents.summary().tokens);
  documents.read(0, documents.summary().tokens, ids.data());
  std::vector<int64_t> begin_of, length_of;  // of each token's document
  for (int64_t d = 0; d < documents.summary().documents; ++d) {
    const std::vector<uint64_t> bounds = documents.document_offsets(d, 2);
    begin_of.resize(bounds[1], static_cast<int64_t>(bounds[0]));
    length_of.resize(bounds[1], static_cast<int64_t>(bounds[1] - bounds[0]));
  }
  const EvaluationSet set = EvaluationSet::from_shards({shard}, loaded.tokenizer, 16, 0);
  for (const DocumentMask mask : {DocumentMask::Off, DocumentMask::On}) {
    LossBreakdown expected;
    const auto count = static_cast<int64_t>(ids.size());
    for (int64_t at = 0; at + 1 < count; ++at) {
      if (begin_of[at + 1] == at + 1) continue;
      const int64_t window = at / 16 * 16, begin = mask == DocumentMask::On ? std::max(window, begin_of[at]) : window;
      // What the mask does is to leave out what is before the document.
      const std::vector<int32_t> inputs(ids.begin() + begin, ids.begin() + at + 1);
      const Tensor logits =
          loaded.model->logits(Tensor::from<int32_t>({1, static_cast<int64_t>(inputs.size())}, inputs));
      double sum = 0;
      const std::vector<double> row = to_doubles(logits.row_slice(at - begin, 1));
      for (const double logit : row) sum += std::exp(logit);
      expected.add(at - begin + 1, length_of[at], std::log(sum) - row[static_cast<size_t>(ids[at + 1])]);
    }
    for (const int64_t batch : {1, 7}) {
      const EvaluationResult result = evaluate(*loaded.model, set, batch, mask);
      const std::map<std::string, double> got = result.breakdown.values();
      EXPECT_GE(got.size(), 6U);
      ASSERT_EQ(got.size(), expected.values().size());
      for (const auto& [name, value] : expected.values()) EXPECT_NEAR(got.at(name), value, 1e-5) << name;
      expect_means_to_be_the_loss(result);
    }
  }
  // Windows that overlap, a part of the shards, and one document.
  expect_means_to_be_the_loss(evaluate(*loaded.model, set.with_stride(5), 3, DocumentMask::Off));
  for (const int64_t most : {100, 333})
    expect_means_to_be_the_loss(
        evaluate(*loaded.model, EvaluationSet::from_shards({shard}, loaded.tokenizer, 16, most), 3, DocumentMask::On));
  const EvaluationResult text =
      evaluate(*loaded.model, EvaluationSet::from_text("a text of its own", loaded.tokenizer, 16), 3, DocumentMask::On);
  expect_means_to_be_the_loss(text);
  EXPECT_EQ(text.breakdown.values().count("loss/document/1-32"), 1U);
}

TEST_F(Breakdown, IsTheSameBitsByAnyNumberOfRanks) {
  const LoadedModel loaded = trained();
  const EvaluationSet set =
      EvaluationSet::from_shards({folder_ + "/shards/documents-00000.h5"}, loaded.tokenizer, 16, 0);
  const EvaluationResult alone = evaluate(*loaded.model, set, 3, DocumentMask::On);
  for (const int64_t ranks : {2, 3})
    test::expect_fine(ranks, [&](Communicator& communicator) {
      const EvaluationResult together = evaluate(*loaded.model, set, 3, DocumentMask::On, {}, communicator);
      EXPECT_EQ(together.loss, alone.loss);
      EXPECT_EQ(together.breakdown.values(), alone.breakdown.values());
    });
}

// And so the loss has the bits that it has without.
TEST_F(Breakdown, ReadsTheLossesOfTokensWithoutAnotherSum) {
  const LoadedModel loaded = trained();
  std::vector<int32_t> ids(48), labels(48);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(i * 7 % 300);
    labels[i] = i % 5 == 0 ? -1 : static_cast<int32_t>(i * 11 % 300);
  }
  const Tensor tokens = Tensor::from<int32_t>({3, 16}, ids), wanted = Tensor::from<int32_t>({3, 16}, labels);
  const Tensor of_tokens = Tensor::empty({48, 2}, DType::F64, Device{});
  Tape tape(TapeMode::Inference);
  const double plain = loaded.model->loss(tape, tokens, wanted, 1.0).to_vector<double>()[0],
               watched =
                   loaded.model->losses(tape, tokens, wanted, {.token_losses = of_tokens}).total.to_vector<double>()[0];
  EXPECT_EQ(plain, watched);
  double sum = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const double loss = of_tokens.to_vector<double>()[2 * i];
    EXPECT_EQ(loss == 0, labels[i] == -1) << i;
    sum += loss;
  }
  EXPECT_EQ(sum, plain);
  EXPECT_THROW(
      loaded.model->losses(tape, tokens, wanted, {.token_losses = Tensor::empty({47, 2}, DType::F64, Device{})}),
      Error);
}

TEST_F(Breakdown, IsARowBeforeThatOfEachValidationAndOfTensorBoard) {
  ASSERT_EQ(train(load({"train.evaluate_every_steps=6", "data.validation=[" + folder_ + "/shards/documents-*.h5]"}),
                  options("run"))
                .outcome,
            TrainOutcome::Finished);
  const std::vector<MetricsRow> rows = read_metrics(folder_ + "/run/metrics.jsonl");
  std::vector<int64_t> steps;
  for (size_t i = 0; i < rows.size(); ++i)
    if (const auto* breakdown = std::get_if<BreakdownRow>(&rows[i])) {
      steps.push_back(breakdown->step);
      EXPECT_EQ(breakdown->values.count("loss/position/9-16"), 1U);
      EXPECT_EQ(breakdown->values.count("loss/document/1-32"), 1U);
      ASSERT_LT(i + 1, rows.size());
      EXPECT_TRUE(std::holds_alternative<ValidationRow>(rows[i + 1]));
    }
  EXPECT_EQ(steps, (std::vector<int64_t>{6, 12}));
  EXPECT_EQ(read_scalars(folder_ + "/run/tensorboard").at(12).count("validation/loss/position/9-16"), 1U);
  const auto back = parse_row(to_line(BreakdownRow{5, {{"loss/position/1", 3}, {"loss/position/2", NAN}}}));
  ASSERT_TRUE(back && std::holds_alternative<BreakdownRow>(*back));
  EXPECT_EQ(std::get<BreakdownRow>(*back).values.at("loss/position/1"), 3);
  EXPECT_TRUE(std::isnan(std::get<BreakdownRow>(*back).values.at("loss/position/2")));
}

TEST_F(Breakdown, IsWhatEvalSaysOfAFinishedRun) {
  ASSERT_EQ(train(load({"train.validation_tokens=0"}), options("run")).outcome, TrainOutcome::Finished);
  const std::string out = folder_ + "/out.txt";
  const auto said = [&](const std::string& more, int code = 0) {
    if (exists(out)) remove_tree(out);
    EXPECT_EQ(gta("eval " + folder_ + "/run --device cpu " + more), code) << errors();
    return read_file(out);
  };
  const nlohmann::json json = nlohmann::json::parse(said("--by-position --json"));
  EXPECT_FALSE(nlohmann::json::parse(said("--json")).contains("by_position"));
  std::map<std::string, double> of_run, of_eval;
  for (const MetricsRow& row : read_metrics(folder_ + "/run/metrics.jsonl"))
    if (const auto* breakdown = std::get_if<BreakdownRow>(&row)) of_run = breakdown->values;
  double positions = 0;
  for (const auto& bucket : json["by_position"]) {
    const std::string name = bucket["name"];
    of_eval[name] = bucket["loss"];
    if (name.starts_with("loss/position/")) positions += bucket["loss"].get<double>() * bucket["tokens"].get<double>();
  }
  EXPECT_NEAR(positions / json["tokens"].get<double>(), json["loss"].get<double>(), 1e-12);
  ASSERT_EQ(of_eval.size(), of_run.size());
  for (const auto& [name, loss] : of_run) EXPECT_NEAR(of_eval.at(name), loss, 1e-5) << name;
  const std::string table = said("--by-position");
  EXPECT_EQ(table.substr(0, table.find('\n') + 1), said(""));
  EXPECT_NE(table.find("\nloss/position/9-16 "), std::string::npos) << table;
  EXPECT_NE(table.find("\nloss/document/"), std::string::npos) << table;
  publish_text(folder_ + "/task.jsonl", "{\"text\": \"ab c\"}\n");
  said("--by-position --task " + folder_ + "/task.jsonl", 2);
  EXPECT_NE(errors().find("--by-position is for --text and --data: leave it out"), std::string::npos) << errors();
}

}  // namespace
}  // namespace gta
