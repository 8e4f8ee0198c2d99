// The training loop's promises, on a model of a few thousand parameters and a text made here.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "checkpoints/reader.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/random.h"
#include "data/shards.h"
#include "launch/trainer.h"

namespace gta {
namespace {

const std::string kGta = GTA_BINARY;

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
    publish_text(folder_ + "/run.yaml", R"(name: tiny
model:
  hidden_size: 32
  layers: 2
  intermediate_size: 48
  heads: 4
  head_dim: 8
  attention: {type: gta, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 8, kv_heads: 2}
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
  for (const char* type : {"gta", "gqa"}) {
    const std::string set = std::string(" --set model.attention.type=") + type;
    for (const char* threads : {"1", "2", "3"})
      ASSERT_EQ(gta("train " + folder_ + "/run.yaml --threads " + threads + set + " --run-dir " + folder_ + "/" + type + threads), 0) << errors();
    EXPECT_EQ(weights(std::string(type) + "1"), weights(std::string(type) + "2"));
    EXPECT_EQ(weights(std::string(type) + "1"), weights(std::string(type) + "3"));
  }
}

TEST_F(Training, KilledAndResumedEqualsUninterrupted) {
  for (const char* type : {"gta", "gqa"})
    EXPECT_EQ(gta("verify-resume " + folder_ + "/run.yaml --set train.steps=200 --set train.checkpoint.every_steps=2 --kills 3 --set model.attention.type=" + type +
                  " --run-dir " + folder_ + "/resume-" + type),
              0)
        << errors();
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
