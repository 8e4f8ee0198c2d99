// Mixtures and document masks in the training loop.
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/error.h"
#include "data/loader.h"
#include "launch/evaluate.h"
#include "launch/loaded_model.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class MaskedTraining : public SmallRun {};

// The losses that the trainer reports, and by hand: all sequences of a step at once, over the labels that its batch
// has. The learning rate is too small to change a weight.
TEST_F(MaskedTraining, WithADocumentMaskTheLossIsTheMeanOverTheLabelsWithinDocuments) {
  const std::string documents = "[" + folder_ + "/shards/documents-*.h5]";
  const LoadedRun run = load({"data.document_mask=true", "data.train=" + documents, "data.validation=" + documents,
                              "train.steps=6", "optimizer.learning_rate=1e-30"});
  const TrainResult result = train(run, options("masked"));
  std::vector<double> reported;
  std::istringstream metrics(read_file(folder_ + "/masked/metrics.jsonl"));
  for (std::string line; std::getline(metrics, line);)
    if (const nlohmann::json row = nlohmann::json::parse(line); row.contains("loss")) reported.push_back(row["loss"]);
  ASSERT_EQ(reported.size(), 6u);

  const LoadedModel trained = load_model(folder_ + "/masked", "auto");
  Loader loader(open_training_data(run.config.data, trained.tokenizer, static_cast<uint64_t>(run.config.seed)), 4, 0);
  std::set<int64_t> counts;
  for (double loss_of_step : reported) {
    const Batch batch = loader.next();
    counts.insert(batch.label_count);
    const auto loss = [&](const Tensor& starts) {
      Tape tape(TapeMode::Inference);
      const Tensor tokens = Tensor::from<int32_t>({4, 16}, batch.tokens),
                   labels = Tensor::from<int32_t>({4, 16}, batch.labels);
      return trained.model->loss(tape, tokens, labels, 1.0, starts).to_vector<double>()[0] /
             static_cast<double>(batch.label_count);
    };
    // float32 sums in two micro-batches
    EXPECT_NEAR(loss_of_step, loss(Tensor::from<int32_t>({64}, batch.document_starts)), 1e-6);
    EXPECT_GT(std::abs(loss_of_step - loss({})), 1e-5) << "the mask changes the loss, or this proves nothing";
  }
  EXPECT_GT(counts.size(), 2u) << "batches have different numbers of labels, or this proves nothing";
  EXPECT_LT(*counts.rbegin(), 4 * 16);

  const EvaluationSet set = EvaluationSet::from_shards(run.config.data.validation, trained.tokenizer, 16, 100);
  EXPECT_EQ(result.validation_loss, evaluate(*trained.model, set, 2, DocumentMask::On).loss);
  EXPECT_NE(result.validation_loss, evaluate(*trained.model, set, 2, DocumentMask::Off).loss);
}

TEST_F(MaskedTraining, MicroBatchesWithDifferentNumbersOfLabelsAddUpToTheSameStep) {
  std::vector<double> norms;
  for (const char* micro : {"1", "2", "4"}) {
    WatchedRun o = options(std::string("micro") + micro);
    std::vector<float> gradient;
    o.before_update = [&](int64_t, ParameterSpace& space) {
      gradient = space.gradients(ParameterKind::Matrix).to_vector<float>();
    };
    train(load({"data.document_mask=true", "data.train=[" + folder_ + "/shards/documents-*.h5]", "train.steps=1",
                "optimizer.schedule.warmup_steps=0", std::string("train.micro_batch_size=") + micro}),
          o);
    double sum = 0;
    for (float g : gradient) sum += static_cast<double>(g) * g;
    norms.push_back(std::sqrt(sum));
  }
  EXPECT_NEAR(norms[1], norms[0], 1e-5 * norms[0]);  // float32 sums in another order
  EXPECT_NEAR(norms[2], norms[0], 1e-5 * norms[0]);
}

TEST_F(MaskedTraining, AMixtureWithADocumentMaskGoesOnBitForBitAndOnlyAsItWas) {
  const std::string first = "data.train=[{shards: " + folder_ +
                            "/shards/train-*.h5, weight: 0.7}, {shards: " + folder_ +
                            "/shards/documents-*.h5, weight: ";
  const std::string mixture = first + "0.3}]";
  const auto steps = [&](int count, std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), {mixture, "data.document_mask=true", "optimizer.schedule.type=constant",
                                         "train.steps=" + std::to_string(count)});
    return load(overrides);
  };
  train(steps(12), options("whole"));
  for (int count : {5, 6, 12}) train(steps(count), options("parts"));
  EXPECT_EQ(weights("whole"), weights("parts"));
  for (const std::string& change :
       {"data.train=[" + folder_ + "/shards/train-*.h5]", first + "0.4}]", std::string("data.document_mask=false")}) {
    try {
      train(steps(14, {change}), options("parts"));
      ADD_FAILURE() << change << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find(change.substr(0, change.find('=')) + ": "), std::string::npos)
          << error.what();
    }
  }
}

class ShortShards : public SmallRun {};

TEST_F(ShortShards, TrainingSaysWhatIsLeftOutAndWithWindowsAcrossShardsUsesIt) {
  const Tokenizer tokenizer = Tokenizer::load(folder_ + "/t.model");
  const std::string text = read_file(folder_ + "/text.txt");
  std::vector<std::string> inputs;
  for (int i = 0; i < 40; ++i) {
    inputs.push_back(fmt::format("{}/piece-{}.txt", folder_, i));
    publish_text(inputs.back(), text.substr(i * 40, i % 10 == 0 ? 400 : 12));
  }
  write_shards(tokenizer, inputs, {}, folder_ + "/shards", "short", 1);
  const auto overrides = [&](int steps, const std::string& across) {
    return std::vector<std::string>{"data.train=[" + folder_ + "/shards/short-*.h5]",
                                    "optimizer.schedule.type=constant", "train.steps=" + std::to_string(steps),
                                    "data.windows_across_shards=" + across};
  };
  int64_t of_short = 0, of_all = 0;
  const std::vector<DataSource> sources = load(overrides(2, "false")).config.data.train;
  for (const std::string& path : sources[0].shards) {
    const int64_t tokens = TokenShard(path).summary().tokens;
    of_all += tokens;
    if (tokens < 17) of_short += tokens;
  }
  ASSERT_GT(of_short, 0);
  train(load(overrides(2, "false")), options("within"));
  const std::string log = read_file(folder_ + "/within/log.txt");
  EXPECT_NE(log.find(fmt::format("of {} tokens (", of_all)), std::string::npos) << log;
  EXPECT_NE(log.find(fmt::format("36 of 40 shards, with {} tokens, are shorter than a sample of 17", of_short)),
            std::string::npos)
      << log;
  EXPECT_NE(log.find("data.windows_across_shards: true"), std::string::npos) << log;

  train(load(overrides(8, "true")), options("whole"));
  EXPECT_EQ(read_file(folder_ + "/whole/log.txt").find("shorter than a sample"), std::string::npos);
  for (int steps : {3, 8}) train(load(overrides(steps, "true")), options("parts"));
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_NE(weights("whole"), weights("within"));
  // What a run trains on does not change on the way.
  for (const auto& [run, across] : {std::pair{"parts", "false"}, {"within", "true"}}) {
    try {
      train(load(overrides(9, across)), options(run));
      ADD_FAILURE() << run << " went on";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("data.windows_across_shards: "), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace gta
