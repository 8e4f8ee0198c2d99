// The training loop's promises, on a model of a few thousand parameters and a text made here.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "checkpoints/reader.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/random.h"
#include "data/loader.h"
#include "data/shards.h"
#include "launch/evaluate.h"
#include "launch/loaded_model.h"
#include "launch/trainer.h"

namespace gta {
namespace {

const std::string kGta = GTA_BINARY;
const char* const kTypes[] = {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"};

class Training : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-training-XXXXXX";
    folder_ = mkdtemp(pattern);
    const RandomStream random(7, "text");
    std::string text;
    for (uint64_t i = 0; i < 6000; ++i) text += std::string(1, static_cast<char>('a' + random.bits(i) % 17)) + (random.bits(i + 100000) % 4 == 0 ? " " : "") + (i % 60 == 59 ? "\n" : "");
    publish_text(folder_ + "/text.txt", text);
    train_tokenizer({text}, 320, folder_ + "/t.model");
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/text.txt"}, {}, folder_ + "/shards", "train");
    // Many documents, some longer than a sample.
    std::string documents;
    for (size_t at = 0, i = 0, length = 0; at + 60 < text.size(); at += length, ++i) {
      length = i % 7 == 6 ? 30 : 1 + i % 5;
      documents += text.substr(at, length) + "\n\n";
    }
    publish_text(folder_ + "/documents.txt", documents);
    CorpusOptions separated;
    separated.document_separator = "";
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/documents.txt"}, separated, folder_ + "/shards", "documents");
    publish_text(folder_ + "/run.yaml", R"(name: tiny
model:
  hidden_size: 32
  layers: 2
  intermediate_size: 48
  heads: 4
  head_dim: 8
  attention: {type: gta, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 8, kv_heads: 2, value_heads: 2, kv_lora_rank: 12, nope_dim: 8, rope_dim: 4, value_dim: 8}
data:
  tokenizer: t.model
  train: [shards/train-*.h5]
  validation: [shards/train-*.h5]
  sequence_length: 16
optimizer:
  learning_rate: 1.0e-2
  schedule: {type: cosine, warmup_steps: 2}
train:
  steps: 12
  global_batch_size: 4
  micro_batch_size: 2
  validation_tokens: 100
  checkpoint: {every_steps: 3, keep: 3}
)");
  }
  void TearDown() override { remove_tree(folder_); }

  LoadedRun load(const std::vector<std::string>& overrides = {}) { return load_run_config(folder_ + "/run.yaml", overrides); }
  TrainOptions options(const std::string& run) {
    TrainOptions options;
    options.run_dir = folder_ + "/" + run;
    return options;
  }
  // Exit code of `gta ARGUMENTS`.
  int gta(const std::string& arguments) {
    const int status = std::system((kGta + " " + arguments + " >>" + folder_ + "/out.txt 2>>" + folder_ + "/err.txt").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string errors() { return exists(folder_ + "/err.txt") ? read_file(folder_ + "/err.txt") : ""; }
  std::string weights(const std::string& run) {
    const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(folder_ + "/" + run));
    std::string text = std::to_string(checkpoint.position().step);
    for (const ManifestEntry& entry : checkpoint.entries()) text += " " + hash_text(entry.hash);
    return text;
  }

  std::string folder_;
};

TEST_F(Training, ANonFiniteGradientNeverReachesTheWeights) {
  TrainOptions o = options("nan");
  std::vector<float> before;
  o.before_update = [&](int64_t step, ParameterSpace& space) {
    const Tensor& values = space.values(ParameterKind::Matrix);
    if (step == 5) {
      before = values.to_vector<float>();
      space.gradients(ParameterKind::Vector).data<float>()[3] = step % 2 ? NAN : INFINITY;
    }
    if (step == 6) {
      EXPECT_EQ(before, values.to_vector<float>());
    }
  };
  EXPECT_EQ(train(load(), o).outcome, TrainOutcome::Finished);
  const TrainingPosition position = Checkpoint::open(resolve_checkpoint(o.run_dir)).position();
  EXPECT_EQ(position.skipped_steps, 1);
  EXPECT_EQ(position.updates, 11);
  EXPECT_EQ(position.step, 12);
}

TEST_F(Training, StopsAfterTooManySkippedStepsAndKeepsTheLastGoodCheckpoint) {
  TrainOptions o = options("diverged");
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step >= 4) space.gradients(ParameterKind::Matrix).data<float>()[0] = INFINITY;
  };
  try {
    train(load({"train.max_skipped_steps=2"}), o);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("max_skipped_steps"), std::string::npos) << error.what();
  }
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, 3);
}

TEST_F(Training, TheTrainedWeightsDoNotDependOnTheNumberOfThreads) {
  for (const char* type : kTypes) {
    const std::string set = std::string(" --set model.attention.type=") + type;
    for (const char* threads : {"1", "2", "3"})
      ASSERT_EQ(gta("train " + folder_ + "/run.yaml --threads " + threads + set + " --run-dir " + folder_ + "/" + type + threads), 0) << errors();
    EXPECT_EQ(weights(std::string(type) + "1"), weights(std::string(type) + "2"));
    EXPECT_EQ(weights(std::string(type) + "1"), weights(std::string(type) + "3"));
  }
}

TEST_F(Training, KilledAndResumedEqualsUninterrupted) {
  // Of one variant a longer run with more kills; what the others add is other parameters. The seeds' moments (0.14, 0.25 and 0.23 of the whole
  // run's time, and 0.32) come late enough for a checkpoint, and early enough not to come after the end where a busy machine made the whole
  // run slower than this one.
  for (const char* type : kTypes) {
    const std::string length = std::string(type) == "gta" ? "--set train.steps=200 --kills 3 --seed 79" : "--set train.steps=60 --kills 1 --seed 28";
    EXPECT_EQ(gta("verify-resume " + folder_ + "/run.yaml --set train.checkpoint.every_steps=2 " + length + " --set model.attention.type=" + type +
                  " --run-dir " + folder_ + "/resume-" + type),
              0)
        << type << ": " << errors();
  }
}

TEST_F(Training, ASignalSavesAndExitsWithItsOwnCodeAndTheSameCommandGoesOn) {
  for (int signal : {SIGTERM, SIGUSR1, SIGINT}) {
    const std::string run = folder_ + "/signal" + std::to_string(signal);
    const std::string config = folder_ + "/run.yaml";
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      execl(kGta.c_str(), "gta", "train", config.c_str(), "--run-dir", run.c_str(), "--set", "train.steps=100000", "--log-level", "error", nullptr);
      _exit(127);
    }
    // Once there is a checkpoint the loop is running. Not a certain one: it may be pruned before anyone looks.
    int early = 0;
    while (!exists(run + "/checkpoints/latest") && waitpid(child, &early, WNOHANG) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 75);
    const int64_t step = Checkpoint::open(resolve_checkpoint(run)).position().step;
    EXPECT_GE(step, 3);
    EXPECT_EQ(gta("train " + config + " --run-dir " + run + " --set train.steps=" + std::to_string(step + 2)), 0) << errors();
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).position().step, step + 2);
  }
}

TEST_F(Training, ResumingWithAnotherConfigurationIsRefusedByKeyAndWritesNothing) {
  ASSERT_EQ(train(load(), options("changed")).outcome, TrainOutcome::Finished);
  const std::string before = weights("changed");
  try {
    train(load({"optimizer.learning_rate=0.5", "train.steps=20"}), options("changed"));
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("optimizer.learning_rate: 0.01 -> 0.5"), std::string::npos) << error.what();
  }
  EXPECT_EQ(before, weights("changed"));
  EXPECT_EQ(train(load({"train.steps=14", "train.log_every_steps=1"}), options("changed")).step, 14);
  EXPECT_EQ(train(load({"train.steps=14"}), options("changed")).outcome, TrainOutcome::NothingToDo);
}

// The losses that the trainer reports, and by hand: all sequences of a step at once, over the labels that its batch has. The learning rate is
// too small to change a weight.
TEST_F(Training, WithADocumentMaskTheLossIsTheMeanOverTheLabelsWithinDocuments) {
  const std::string documents = "[" + folder_ + "/shards/documents-*.h5]";
  const LoadedRun run =
      load({"data.document_mask=true", "data.train=" + documents, "data.validation=" + documents, "train.steps=6", "optimizer.learning_rate=1e-30"});
  const TrainResult result = train(run, options("masked"));
  std::vector<double> reported;
  std::istringstream metrics(read_file(folder_ + "/masked/metrics.jsonl"));
  for (std::string line; std::getline(metrics, line);)
    if (const nlohmann::json row = nlohmann::json::parse(line); row.contains("loss")) reported.push_back(row["loss"]);
  ASSERT_EQ(reported.size(), 6u);

  const LoadedModel trained = load_model(folder_ + "/masked", "cpu");
  Loader loader(open_training_data(run.config.data, trained.tokenizer, static_cast<uint64_t>(run.config.seed)), 4, 0);
  std::set<int64_t> counts;
  for (double loss_of_step : reported) {
    const Batch batch = loader.next();
    counts.insert(batch.label_count);
    const auto loss = [&](const Tensor& starts) {
      Tape tape(TapeMode::Inference);
      const Tensor tokens = Tensor::from<int32_t>({4, 16}, batch.tokens), labels = Tensor::from<int32_t>({4, 16}, batch.labels);
      return trained.model->loss(tape, tokens, labels, 1.0, starts).to_vector<double>()[0] / static_cast<double>(batch.label_count);
    };
    EXPECT_NEAR(loss_of_step, loss(Tensor::from<int32_t>({64}, batch.document_starts)), 1e-6);  // float32 sums in two micro-batches
    EXPECT_GT(std::abs(loss_of_step - loss({})), 1e-5) << "the mask changes the loss, or this proves nothing";
  }
  EXPECT_GT(counts.size(), 2u) << "batches have different numbers of labels, or this proves nothing";
  EXPECT_LT(*counts.rbegin(), 4 * 16);

  const EvaluationSet set = EvaluationSet::from_shards(run.config.data.validation, trained.tokenizer, 16, 100);
  EXPECT_EQ(result.validation_loss, evaluate(*trained.model, set, 16, 2, DocumentMask::On).loss);
  EXPECT_NE(result.validation_loss, evaluate(*trained.model, set, 16, 2, DocumentMask::Off).loss);
}

TEST_F(Training, MicroBatchesWithDifferentNumbersOfLabelsAddUpToTheSameStep) {
  std::vector<double> norms;
  for (const char* micro : {"1", "2", "4"}) {
    TrainOptions o = options(std::string("micro") + micro);
    std::vector<float> gradient;
    o.before_update = [&](int64_t, ParameterSpace& space) { gradient = space.gradients(ParameterKind::Matrix).to_vector<float>(); };
    train(load({"data.document_mask=true", "data.train=[" + folder_ + "/shards/documents-*.h5]", "train.steps=1", "optimizer.schedule.warmup_steps=0",
                std::string("train.micro_batch_size=") + micro}),
          o);
    double sum = 0;
    for (float g : gradient) sum += static_cast<double>(g) * g;
    norms.push_back(std::sqrt(sum));
  }
  EXPECT_NEAR(norms[1], norms[0], 1e-5 * norms[0]);  // float32 sums in another order
  EXPECT_NEAR(norms[2], norms[0], 1e-5 * norms[0]);
}

TEST_F(Training, AMixtureWithADocumentMaskGoesOnBitForBitAndOnlyAsItWas) {
  const std::string first = "data.train=[{shards: " + folder_ + "/shards/train-*.h5, weight: 0.7}, {shards: " + folder_ + "/shards/documents-*.h5, weight: ";
  const std::string mixture = first + "0.3}]";
  const auto steps = [&](int count, std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), {mixture, "data.document_mask=true", "optimizer.schedule.type=constant", "train.steps=" + std::to_string(count)});
    return load(overrides);
  };
  train(steps(12), options("whole"));
  for (int count : {5, 6, 12}) train(steps(count), options("parts"));
  EXPECT_EQ(weights("whole"), weights("parts"));
  for (const std::string& change : {"data.train=[" + folder_ + "/shards/train-*.h5]", first + "0.4}]", std::string("data.document_mask=false")}) {
    try {
      train(steps(14, {change}), options("parts"));
      ADD_FAILURE() << change << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find(change.substr(0, change.find('=')) + ": "), std::string::npos) << error.what();
    }
  }
}

TEST_F(Training, RecomputeAndThreadsChangeNoBitOfAnyVariantInFloat32AndBfloat16) {
  for (const char* type : {"mha", "gqa", "mla", "gva", "gha", "gta"})
    for (const char* dtype : {"float32", "bfloat16"}) {
      const std::string set = fmt::format(" --set train.steps=4 --set model.attention.type={} --set train.dtype={}", type, dtype);
      const auto run = [&](const std::string& name, const std::string& options) {
        const std::string folder = fmt::format("{}-{}-{}", type, dtype, name);
        EXPECT_EQ(gta("train " + folder_ + "/run.yaml" + set + options + " --run-dir " + folder_ + "/" + folder), 0) << errors();
        return weights(folder);
      };
      const std::string plain = run("plain", " --threads 1");
      EXPECT_EQ(plain, run("elementwise", " --threads 2 --set train.recompute=elementwise")) << type << " " << dtype;
      EXPECT_EQ(plain, run("block", " --threads 3 --set train.recompute=block")) << type << " " << dtype;
    }
}

TEST_F(Training, AnAutomaticMicroBatchStaysWhatItWasOnResume) {
  const std::string set = " --set train.micro_batch_size=auto --run-dir " + folder_ + "/auto";
  ASSERT_EQ(gta("train " + folder_ + "/run.yaml --set train.steps=3" + set), 0) << errors();
  EXPECT_NE(read_file(folder_ + "/auto/config.yaml").find("micro_batch_size: 4\n"), std::string::npos);  // the whole of a small global batch
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --set train.steps=5" + set), 0) << errors();
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/auto")).position().step, 5);
}

TEST_F(Training, DiagnosticsAreOneRowOfMetricsWithEveryLayer) {
  ASSERT_EQ(train(load({"train.diagnose_every_steps=5"}), options("diagnosed")).outcome, TrainOutcome::Finished);
  const std::string metrics = read_file(folder_ + "/diagnosed/metrics.jsonl");
  size_t rows = 0;
  for (size_t at = metrics.find("gradient_norm/layers.1"); at != std::string::npos; at = metrics.find("gradient_norm/layers.1", at + 1)) ++rows;
  EXPECT_EQ(rows, 2u);  // of 12 steps: 5 and 10
  for (const char* key : {"weight_norm/embed_tokens", "weight_norm/norm", "stream_rms/layers.0", "largest_score/layers.1"})
    EXPECT_NE(metrics.find(key), std::string::npos) << key;
}

TEST_F(Training, ATrainedModelTakesALongerContextAndRefusesAnotherShape) {
  ASSERT_EQ(train(load(), options("long")).outcome, TrainOutcome::Finished);
  const std::string model = folder_ + "/long";
  EXPECT_EQ(gta("generate " + model + " --prompt abc --max-tokens 40 --set model.rope_theta=50000 --set model.max_sequence_length=64 --set train.dtype=bfloat16"), 0) << errors();
  EXPECT_EQ(gta("generate " + model + " --prompt abc --set model.layers=3"), 2);
  EXPECT_NE(errors().find("model.layers cannot be changed for a trained model"), std::string::npos) << errors();
}

TEST_F(Training, ADamagedCheckpointIsSkippedForTheOneBefore) {
  ASSERT_EQ(train(load(), options("damaged")).outcome, TrainOutcome::Finished);
  const std::string whole = weights("damaged"), file = folder_ + "/damaged/checkpoints/step-00000012/rank-0000-of-0001.h5";
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] ^= 1;
  publish_text(file, bytes);
  ASSERT_EQ(train(load(), options("damaged")).outcome, TrainOutcome::Finished);
  EXPECT_EQ(whole, weights("damaged"));
}

TEST_F(Training, AFolderInUseIsRefusedAndItsHolderNamed) {
  TrainOptions o = options("locked");
  o.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 1) return;
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + o.run_dir), 1);
    EXPECT_NE(errors().find("in use by process " + std::to_string(getpid())), std::string::npos) << errors();
  };
  train(load(), o);
}

TEST_F(Training, FreshMovesTheOldRunAside) {
  ASSERT_EQ(train(load(), options("fresh")).outcome, TrainOutcome::Finished);
  TrainOptions o = options("fresh");
  o.use = FolderUse::Fresh;
  ASSERT_EQ(train(load({"seed=5"}), o).outcome, TrainOutcome::Finished);
  EXPECT_NE(weights("fresh"), weights("fresh.before-1"));
}

TEST_F(Training, InitFromTakesTheWeightsAlone) {
  ASSERT_EQ(train(load(), options("first")).outcome, TrainOutcome::Finished);
  TrainOptions o = options("second");
  std::vector<float> start;
  o.before_update = [&](int64_t step, ParameterSpace& space) {
    if (step == 0) start = space.values(ParameterKind::Matrix).to_vector<float>();
  };
  ASSERT_EQ(train(load({"train.init_from=" + folder_ + "/first", "seed=99"}), o).outcome, TrainOutcome::Finished);
  TrainOptions again = options("third");
  again.before_update = [&](int64_t step, ParameterSpace& space) {
    if (step == 0) {
      EXPECT_EQ(start, space.values(ParameterKind::Matrix).to_vector<float>());
    }
  };
  ASSERT_EQ(train(load({"train.init_from=" + folder_ + "/first", "seed=3"}), again).outcome, TrainOutcome::Finished);
}

TEST_F(Training, OutOfMemorySaysWhatWasAskedWhatIsHeldAndWhichKeyToLower) {
  const int code = std::system(("ulimit -v 400000; " + kGta + " train " + folder_ + "/run.yaml --run-dir " + folder_ +
                                "/memory --threads 1 --set model.vocab_size=1000000 --set model.hidden_size=64 2>" + folder_ + "/memory.txt")
                                   .c_str());
  EXPECT_EQ(WEXITSTATUS(code), 1);
  const std::string text = read_file(folder_ + "/memory.txt");
  for (const char* part : {"asked for", "held: parameters", "train.micro_batch_size"}) EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(Training, EveryVariantTrainsResumesFromItsOwnConfigurationAndGenerates) {
  for (const char* type : kTypes) {
    const std::string run = folder_ + "/" + type, set = std::string(" --set model.attention.type=") + type;
    ASSERT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + run + set), 0) << type << ": " << errors();
    // The resolved configuration has every key of every variant, given or not.
    ASSERT_EQ(gta("train " + run + "/config.yaml --run-dir " + run + " --set train.steps=14"), 0) << type << ": " << errors();
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).position().step, 14) << type;
    EXPECT_EQ(gta("generate " + run + " --prompt abc --max-tokens 5"), 0) << type << ": " << errors();
  }
  // A configuration without the others' keys is written out and read again too.
  std::string text = read_file(folder_ + "/run.yaml");
  const size_t head_dim = text.find("  head_dim: 8\n"), attention = text.find("  attention: {");
  ASSERT_NE(head_dim, std::string::npos);
  text.replace(attention, text.find('\n', attention) - attention, "  attention: {type: mla, kv_lora_rank: 12, nope_dim: 8, rope_dim: 4, value_dim: 8}");
  text.erase(head_dim, std::string("  head_dim: 8\n").size());
  publish_text(folder_ + "/mla.yaml", text);
  ASSERT_EQ(gta("train " + folder_ + "/mla.yaml --run-dir " + folder_ + "/mla-alone"), 0) << errors();
  ASSERT_EQ(gta("train " + folder_ + "/mla-alone/config.yaml --run-dir " + folder_ + "/mla-alone --set train.steps=14"), 0) << errors();
  EXPECT_EQ(gta("generate " + folder_ + "/mla-alone --prompt abc --max-tokens 5"), 0) << errors();
}

TEST_F(Training, GenerateAndEvalUseACheckpointAlone) {
  ASSERT_EQ(train(load(), options("used")).outcome, TrainOutcome::Finished);
  remove_tree(folder_ + "/t.model");
  EXPECT_EQ(gta("generate " + folder_ + "/used --prompt abc --max-tokens 5"), 0) << errors();
  EXPECT_EQ(gta("eval " + folder_ + "/used --text " + folder_ + "/text.txt --json"), 0) << errors();
  EXPECT_NE(read_file(folder_ + "/out.txt").find("\"bits_per_byte\":"), std::string::npos);
  EXPECT_EQ(gta("inspect " + folder_ + "/used"), 0) << errors();
}

TEST_F(Training, WrongUsageEndsWithCodeTwoAndWritesNothing) {
  EXPECT_EQ(gta("train " + folder_ + "/nothing.yaml"), 2);
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --no-such-option"), 2);
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --device cuda --run-dir " + folder_ + "/cuda"), 2);
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --set train.setps=3 --run-dir " + folder_ + "/typo"), 2);
  EXPECT_NE(errors().find("did you mean train.steps?"), std::string::npos) << errors();
  EXPECT_FALSE(exists(folder_ + "/typo"));
  EXPECT_FALSE(exists(folder_ + "/cuda"));
  EXPECT_EQ(gta("generate " + folder_ + "/nothing --prompt x"), 2);
}

}  // namespace
}  // namespace gta
