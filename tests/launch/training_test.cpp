// The training loop's promises, on a model of a few thousand parameters and a text made here.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "core/sanitizer.h"
#include "layers/transformer/causal_lm.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

const char* const kTypes[] = {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"};

constexpr const char* kAcknowledged =
    "gta: stopping after what is in hand, and saving; Ctrl-C again, a second later, ends without saving\n";

class Training : public SmallRun {
 protected:
  // Runs one command in a process of its own, which the caller signals and waits for.
  pid_t start(
      const std::string& run, const std::vector<std::string>& overrides, const std::function<void()>& prepare = [] {},
      const std::string& log_level = "error") {
    std::vector<std::string> words = {"gta",         "train",  folder_ + "/run.yaml", "--run-dir", run,
                                      "--log-level", log_level};
    for (const std::string& text : overrides) words.insert(words.end(), {"--set", text});
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGINT, SIG_DFL);  // ignored where these tests run in the background
      prepare();
      execv(kGta.c_str(), arguments.data());
      _exit(127);
    }
    return child;
  }
  static std::function<void()> says_into(const std::string& path) {
    return [path] {
      const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(file, STDERR_FILENO);
    };
  }
  // Of the rows of metrics.jsonl.
  static std::vector<int64_t> steps_of(const std::string& run) {
    std::istringstream rows(read_file(run + "/metrics.jsonl"));
    std::vector<int64_t> steps;
    for (std::string row; std::getline(rows, row);)
      if (const auto json = nlohmann::json::parse(row); json.contains("loss")) steps.push_back(json.at("step"));
    return steps;
  }
  // False when the process ended before.
  static bool wait_until_there_is(const std::string& path, pid_t child) {
    int early = 0;
    while (!exists(path)) {
      if (waitpid(child, &early, WNOHANG) != 0) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  static int exit_code_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

TEST_F(Training, ANonFiniteGradientOrLossNeverReachesTheWeights) {
  for (const float bad : {NAN, INFINITY, -INFINITY})
    for (const bool in_loss : {false, true}) {
      WatchedRun o = options(fmt::format("bad-{}-{}", bad, in_loss));
      std::vector<float> before;
      o.with_loss = [&](int64_t step, const Tensor& losses) {
        if (in_loss && step == 5) losses.column_slice(0, 1).copy_from(Tensor::from<double>({1}, {bad}));
      };
      o.before_update = [&](int64_t step, ParameterSpace& space) {
        const Tensor& values = space.values(ParameterKind::Matrix);
        if (step == 5) {
          before = values.to_vector<float>();
          if (!in_loss) set(space.gradients(ParameterKind::Vector), 3, bad);
        }
        if (step == 6) {
          EXPECT_EQ(before, values.to_vector<float>()) << o.run_dir;
        }
      };
      EXPECT_EQ(train(load(), o).outcome, TrainOutcome::Finished);
      const TrainingPosition position = Checkpoint::open(resolve_checkpoint(o.run_dir)).position();
      EXPECT_EQ(position.skipped_steps, 1) << o.run_dir;
      EXPECT_EQ(position.updates, 11);
      EXPECT_EQ(position.step, 12);
    }
}

TEST_F(Training, SkippedStepsWithGoodOnesBetweenThemDoNotAddUp) {
  WatchedRun o = options("now-and-then");
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step % 2 == 1) set(space.gradients(ParameterKind::Matrix), 0, NAN);
  };
  EXPECT_EQ(train(load({"train.max_skipped_steps=2"}), o).outcome, TrainOutcome::Finished);
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().skipped_steps, 6);
}

TEST_F(Training, StopsAfterTooManySkippedStepsAndKeepsTheLastGoodCheckpoint) {
  WatchedRun o = options("diverged");
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step >= 4) set(space.gradients(ParameterKind::Matrix), 0, INFINITY);
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
      ASSERT_EQ(gta("train " + folder_ + "/run.yaml --threads " + threads + set + " --run-dir " + folder_ + "/" + type +
                    threads),
                0)
          << errors();
    EXPECT_EQ(weights(std::string(type) + "1"), weights(std::string(type) + "2"));
    EXPECT_EQ(weights(std::string(type) + "1"), weights(std::string(type) + "3"));
  }
}

// A model wide enough, and steps short enough, that nearly every update comes while a save is being written.
TEST_F(Training, AnAsynchronousCheckpointIsTheSynchronousOneOfItsStep) {
  const auto saved = [&](const std::string& run, const std::string& asynchronous) {
    const LoadedRun config =
        load({"model.hidden_size=256", "model.intermediate_size=512", "data.sequence_length=8",
              "train.global_batch_size=1", "train.micro_batch_size=1", "train.checkpoint.every_steps=1",
              "train.checkpoint.keep=12", "train.checkpoint.asynchronous=" + asynchronous});
    EXPECT_EQ(train(config, options(run)).outcome, TrainOutcome::Finished);
    std::vector<std::string> steps;
    for (const std::string& name : list_checkpoints(folder_ + "/" + run + "/checkpoints"))
      steps.push_back(weights(run + "/checkpoints/" + name));
    return steps;
  };
  const std::vector<std::string> expected = saved("synchronous", "false");
  EXPECT_EQ(expected.size(), 12u);
  EXPECT_EQ(expected, saved("asynchronous", "true"));
}

// Ablations run them one after the other.
TEST_F(Training, SeveralTrainingsInOneProcessDoNotKnowOfEachOther) {
  const auto memory_of = [&](const std::string& run) {
    std::istringstream rows(read_file(folder_ + "/" + run + "/metrics.jsonl"));
    std::string row;
    std::getline(rows, row);
    return nlohmann::json::parse(row).at("memory_bytes").get<int64_t>();
  };
  // On a GPU what measures its peak holds more than these models.
  const auto on_the_cpu = [&](const std::string& run) {
    WatchedRun o = options(run);
    o.device = "cpu";
    return o;
  };
  ASSERT_EQ(train(load(), on_the_cpu("first")).outcome, TrainOutcome::Finished);
  const std::string log = read_file(folder_ + "/first/log.txt");
  ASSERT_EQ(train(load({"model.hidden_size=1024", "train.steps=2"}), on_the_cpu("large")).outcome,
            TrainOutcome::Finished);
  ASSERT_EQ(train(load(), on_the_cpu("last")).outcome, TrainOutcome::Finished);
  EXPECT_EQ(weights("first"), weights("last"));
  EXPECT_GT(memory_of("large"), 1.5 * memory_of("first"));
  EXPECT_LT(memory_of("last"), 1.2 * memory_of("first"));
  EXPECT_EQ(read_file(folder_ + "/first/log.txt"), log);
}

// What comparisons of runs show by it is only as good as these are those of the weights.
TEST_F(Training, TheInitialWeightsAreKeptAsHashes) {
  const auto initial = [&](const std::string& run) {
    return nlohmann::json::parse(read_file(folder_ + "/" + run + "/initial.json"));
  };
  for (const std::string type : {"gta", "gqa"}) {
    const LoadedRun run = load({"model.attention.type=" + type, "train.steps=2", "train.dtype=bfloat16"});
    train(run, options(type));
    RunConfig config = run.config;
    config.model.vocab_size = 320;
    ParameterSpace space;
    const CausalLm model(space, config.model);
    space.allocate(DType::BF16, Device{}, SpaceUse::Inference);
    space.initialize(static_cast<uint64_t>(config.seed));
    const nlohmann::json kept = initial(type);
    EXPECT_EQ(kept["seed"], config.seed);
    EXPECT_EQ(kept["dtype"], "bfloat16");
    EXPECT_EQ(kept["parameters"].size(), space.parameters().size());
    for (const Parameter& parameter : space.parameters()) {
      const Tensor value = space.view(space.weights(parameter.kind), parameter);
      EXPECT_EQ(kept["parameters"][parameter.name]["hash"],
                hash_text(hash_bytes(value.raw_data(), value.elements() * size_of(value.dtype()))))
          << parameter.name;
      EXPECT_EQ(kept["parameters"][parameter.name]["shape"].size(), parameter.shape.rank()) << parameter.name;
    }
  }
  const char* const shared = "model.layers.1.mlp.gate_proj.weight";
  EXPECT_EQ(initial("gta")["parameters"][shared], initial("gqa")["parameters"][shared]);

  // A run that goes on began with what it began with.
  const std::string before = read_file(folder_ + "/gqa/initial.json");
  train(load({"model.attention.type=gqa", "train.steps=4", "train.dtype=bfloat16", "seed=1234"}), options("gqa"));
  EXPECT_EQ(read_file(folder_ + "/gqa/initial.json"), before);
  train(load({"model.attention.type=gqa", "train.steps=2", "seed=5"}), options("other"));
  EXPECT_NE(initial("other")["parameters"][shared], initial("gqa")["parameters"][shared]);
  // Weights of another run are what it begins with.
  train(load({"model.attention.type=gqa", "train.steps=2", "train.init_from=" + folder_ + "/other"}), options("from"));
  EXPECT_NE(initial("from")["parameters"][shared], initial("other")["parameters"][shared]);
}

TEST_F(Training, MicroBatchesOfAnySizeTrainTheSame) {
  std::vector<double> first;
  for (const char* micro_batch : {"1", "2", "4"}) {
    WatchedRun o = options(std::string("micro-") + micro_batch);
    o.device = "cpu";  // float64
    std::vector<double> losses;
    o.with_loss = [&](int64_t, const Tensor& parts) {
      const std::vector<double> values = parts.to_vector<double>();
      losses.push_back(std::accumulate(values.begin(), values.end(), 0.0));
    };
    ASSERT_EQ(train(load({"train.dtype=float64", std::string("train.micro_batch_size=") + micro_batch}), o).outcome,
              TrainOutcome::Finished);
    if (first.empty()) first = losses;
    // Sums in another order, over twelve updates.
    for (size_t i = 0; i < first.size(); ++i)
      EXPECT_NEAR(losses[i], first[i], 1e-9 * first[i]) << micro_batch << ", step " << i;
  }
}

TEST_F(Training, SamplesAreKeptFromBeforeDuringAndAfter) {
  ASSERT_EQ(train(load({"train.sample_prompts=[abc, de]", "train.sample_every_steps=5", "train.sample_tokens=4"}),
                  options("samples"))
                .outcome,
            TrainOutcome::Finished);
  EXPECT_EQ(list_directory(folder_ + "/samples/samples"),
            (std::vector<std::string>{"step-0.txt", "step-10.txt", "step-12.txt", "step-5.txt"}));
  const std::string text = read_file(folder_ + "/samples/samples/step-0.txt");
  EXPECT_EQ(text.find("abc"), 0u);
  EXPECT_NE(text.find("\n---\nde"), std::string::npos);
}

TEST_F(Training, KilledAndResumedEqualsUninterrupted) {
  // Of one variant a longer run with more kills; what the others add is other parameters. The seeds' moments (0.14,
  // 0.25 and 0.23 of the whole run's time, and 0.32) come late enough for a checkpoint, and early enough not to come
  // after the end where a busy machine made the whole run slower than this one.
  for (const char* type : kTypes)
    for (const char* dtype : {"float32", "bfloat16"}) {
      const bool longer = std::string(type) == "gta" && std::string(dtype) == "float32";
      const std::string length = longer ? "--set train.steps=200 --kills 3 --stops 0 --seed 79"
                                        : "--set train.steps=60 --kills 1 --stops 0 --seed 28";
      EXPECT_EQ(gta("verify-resume " + folder_ + "/run.yaml --set train.checkpoint.every_steps=2 " + length +
                    " --set model.attention.type=" + type + " --set train.dtype=" + dtype + " --run-dir " + folder_ +
                    "/resume-" + type),
                0)
          << type << " " << dtype << ": " << errors();
    }
}

TEST_F(Training, ASignalSavesAndExitsWithItsOwnCodeAndTheSameCommandGoesOn) {
  for (int signal : {SIGTERM, SIGUSR1, SIGINT, SIGHUP, SIGUSR2, SIGXCPU}) {
    const std::string run = folder_ + "/signal" + std::to_string(signal);
    const pid_t child = start(run, {"train.steps=100000"});
    // Once there is a checkpoint the loop is running. Not a certain one: it may be pruned before anyone looks.
    ASSERT_TRUE(wait_until_there_is(run + "/checkpoints/latest", child));
    kill(child, signal);
    EXPECT_EQ(exit_code_of(child), 75);
    const int64_t step = Checkpoint::open(resolve_checkpoint(run)).position().step;
    EXPECT_GE(step, 3);
    EXPECT_EQ(steps_of(run).back(), step) << "a step was made that no checkpoint has";
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + run + " --set train.steps=" + std::to_string(step + 2)),
              0)
        << errors();
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).position().step, step + 2);
  }
}

TEST_F(Training, OneCtrlCThatComesTwiceSavesToo) {
  const std::string run = folder_ + "/twice";
  const pid_t child = start(run, {"train.steps=100000", "train.global_batch_size=2000"}, says_into(folder_ + "/said"));
  ASSERT_TRUE(wait_until_there_is(run + "/metrics.jsonl", child));
  kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  kill(child, SIGINT);
  EXPECT_EQ(exit_code_of(child), 75);
  EXPECT_EQ(read_file(folder_ + "/said"), kAcknowledged) << "and once";
  EXPECT_NO_THROW(Checkpoint::open(resolve_checkpoint(run)));
}

TEST_F(Training, AStopNamesTheFolderThatTheRunHasByThen) {
  const std::string run = folder_ + "/before", moved = folder_ + "/now";
  const pid_t child = start(run, {"train.steps=100000"}, says_into(folder_ + "/said"), "info");
  ASSERT_TRUE(wait_until_there_is(run + "/checkpoints/latest", child));
  rename_path(run, moved);
  kill(child, SIGTERM);
  EXPECT_EQ(exit_code_of(child), 75);
  EXPECT_NE(read_file(folder_ + "/said").find("run the same command again with --run-dir '" + moved + "' to go on"),
            std::string::npos)
      << read_file(folder_ + "/said");
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + moved), 0) << errors();
}

TEST_F(Training, ALimitOnTheSizeOfFilesIsAnErrorOfTheSaveAndNoSignal) {
  const std::string run = folder_ + "/limit";
  const int status = std::system(
      ("ulimit -f 8; exec " GTA_BINARY " train " + folder_ + "/run.yaml --run-dir " + run + " 2>" + folder_ + "/said")
          .c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST_F(Training, AFolderThatIsNoRunsIsLeftAlone) {
  const std::string mine = folder_ + "/mine";
  make_directories(mine);
  publish_text(mine + "/config.yaml", "# mine\n");
  publish_text(mine + "/metrics.jsonl", "{\"mine\": 1}\n");
  for (const char* fresh : {"", " --fresh"}) {
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + mine + fresh), 2);
    EXPECT_NE(errors().find("is not the folder of a run"), std::string::npos) << errors();
    EXPECT_EQ(list_directory(mine), (std::vector<std::string>{"config.yaml", "metrics.jsonl"}));
    EXPECT_EQ(read_file(mine + "/config.yaml"), "# mine\n");
  }
  make_directories(folder_ + "/empty");
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + folder_ + "/empty"), 0) << errors();
}

TEST_F(Training, ANameThatCannotBeARunsFolderIsWrongUsage) {
  for (const std::string& run : {folder_ + "/run.yaml", folder_ + "/run.yaml/r", std::string("/proc/absent")}) {
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + run), 2) << errors();
    EXPECT_NE(errors().find("[" + run + "] cannot make the folder: "), std::string::npos) << errors();
  }
}

TEST_F(Training, ARunOnAReadOnlyDiskIsRefusedAndStaysAsItIs) {
  if (std::system("unshare -m true 2>/dev/null") != 0) GTEST_SKIP() << "this machine makes no mounts";
  const std::string run = folder_ + "/r",
                    train = kGta + " train " + folder_ + "/run.yaml --device cpu --run-dir " + run;
  ASSERT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + run), 0) << errors();
  const int status =
      std::system(("unshare -m sh -c 'mount --bind " + run + " " + run + " && mount -o remount,ro,bind " + run +
                   " && exec " + train + " --set train.steps=100' 2>" + folder_ + "/said")
                      .c_str());
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_NE(read_file(folder_ + "/said").find("/run.lock] cannot be written: Read-only file system"), std::string::npos)
      << read_file(folder_ + "/said");
}

// A checkpoint holds the configuration as text, in which no other bytes can stand: every save would fail.
TEST_F(Training, PathsThatAreNotUtf8AreRefusedBeforeAnythingIsWritten) {
  const std::string run = folder_ + "/caf\xe9";
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + run), 2);
  EXPECT_NE(errors().find("not UTF-8"), std::string::npos) << errors();
  EXPECT_FALSE(exists(run));
}

// A handler that runs on a thread which makes a product writes into the heap: before signals had a thread of their own
// most of such stops ended in a crash, one in ten with matrices of these sizes.
TEST_F(Training, StopsAtRandomMomentsAlwaysSaveAndTheResumedRunIsTheSame) {
  for (const char* threads : {"1", "2"})
    for (const char* dtype : {"float32", "bfloat16"}) {
      // Which takes ten times as long, and what may race is the same: two threads.
      if (kThreadSanitizer && (std::string(threads) == "1" || std::string(dtype) == "bfloat16")) continue;
      EXPECT_EQ(gta("verify-resume " + folder_ + "/run.yaml --threads " + threads +
                    " --kills 0 --stops 25 --set train.dtype=" + dtype +
                    " --set model.hidden_size=256 --set model.intermediate_size=512 --set train.steps=200 --set "
                    "train.checkpoint.every_steps=0 --run-dir " +
                    folder_ + "/stops"),
                0)
          << threads << " " << dtype << ": " << errors();
    }
}

// nohup ignores SIGHUP, a script's background SIGINT: the check sends them all the same.
TEST_F(Training, StopsAreMadeAlsoWhereWhoeverStartedTheCheckIgnoresTheirSignals) {
  const std::string said = folder_ + "/said.txt";
  ASSERT_EQ(std::system(("trap '' HUP INT TERM USR1; " + kGta + " verify-resume " + folder_ +
                         "/run.yaml --kills 0 --stops 4 --set train.steps=4000 --set train.checkpoint.every_steps=0 "
                         "--run-dir " +
                         folder_ + "/ignored >" + said + " 2>&1")
                            .c_str()),
            0)
      << read_file(said);
  for (const char* part : {"Terminated after", "Interrupt after", "holds: stopped"})
    EXPECT_NE(read_file(said).find(part), std::string::npos) << read_file(said);
}

TEST_F(Training, SignalsThatComeBeforeTheFirstStepAndThoseBlockedByWhoStartedItAskForASaveToo) {
  const auto block = [] {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    kill(getpid(), SIGTERM);  // the process, not this thread of it
  };
  EXPECT_EQ(exit_code_of(start(folder_ + "/early", {"train.steps=100000"}, block)), 75);
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/early")).position().step, 0);
}

// nohup, and jobs that a script has put into the background.
TEST_F(Training, SignalsThatWereIgnoredAtTheStartStayIgnored) {
  const std::string run = folder_ + "/ignoring";
  const pid_t child = start(run, {"train.steps=100000"}, [] {
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
  });
  ASSERT_TRUE(wait_until_there_is(run + "/checkpoints/latest", child));
  for (int signal : {SIGINT, SIGHUP, SIGINT}) {
    kill(child, signal);
    const size_t before = read_file(run + "/metrics.jsonl").size();
    while (read_file(run + "/metrics.jsonl").size() < before + 2000 && waitpid(child, nullptr, WNOHANG) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  kill(child, SIGTERM);
  EXPECT_EQ(exit_code_of(child), 75);
}

TEST_F(Training, ThatNoOneReadsItsMessagesAnyMoreDoesNotEndIt) {
  const std::string run = folder_ + "/unread";
  ASSERT_EQ(std::system(("{ " + kGta + " train " + folder_ +
                         "/run.yaml --set train.log_every_steps=1 --set train.steps=200 --run-dir " + run +
                         "; echo $? >" + folder_ + "/code; } 2>&1 | true")
                            .c_str()),
            0);
  EXPECT_EQ(read_file(folder_ + "/code"), "0\n");
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).position().step, 200);
}

// Settings of job scripts, MPI launchers and shared machines. Under some of them oneDNN shared products among threads
// that were not there.
TEST_F(Training, WhatTheEnvironmentSaysAboutThreadsDoesNotChangeABit) {
  const std::string settings[] = {"OMP_DYNAMIC=true",
                                  "OMP_THREAD_LIMIT=1",
                                  "OMP_MAX_ACTIVE_LEVELS=0",
                                  "OMP_NUM_THREADS=1",
                                  "OMP_NUM_THREADS=3,2",
                                  "OMP_NUM_THREADS=nonsense",
                                  "OMP_NESTED=true OMP_MAX_ACTIVE_LEVELS=4",
                                  "OMP_WAIT_POLICY=active GOMP_SPINCOUNT=infinite",
                                  "OMP_WAIT_POLICY=passive",
                                  "OMP_SCHEDULE=static,3",
                                  "OMP_PROC_BIND=true",
                                  "OMP_PROC_BIND=spread OMP_PLACES=threads",
                                  "OMP_PLACES={0}",
                                  "GOMP_CPU_AFFINITY=0",
                                  "OMP_STACKSIZE=64k",
                                  "OMP_CANCELLATION=true",
                                  "OMP_DYNAMIC=true OMP_THREAD_LIMIT=1 OMP_MAX_ACTIVE_LEVELS=0 OMP_NUM_THREADS=8 "
                                  "OMP_PROC_BIND=close OMP_SCHEDULE=guided",
                                  "DNNL_DEFAULT_FPMATH_MODE=STRICT OMP_THREAD_LIMIT=1 OMP_DYNAMIC=true"};
  for (const char* dtype : {"float32", "bfloat16"}) {
    const auto weights_with = [&](const std::string& environment, const std::string& prefix = "") {
      const std::string run = folder_ + "/environment";
      remove_tree(run);
      EXPECT_EQ(std::system(("env " + environment + " " + prefix + " " + kGta + " train " + folder_ +
                             "/run.yaml --threads 2 --log-level error --set train.steps=3 --set train.dtype=" + dtype +
                             " --run-dir " + run + " 2>>" + folder_ + "/err.txt")
                                .c_str()),
                0)
          << environment << ": " << errors();
      return weights("environment");
    };
    const std::string expected = weights_with("-u OMP_WAIT_POLICY");
    for (const std::string& setting : settings) EXPECT_EQ(weights_with(setting), expected) << setting;
    if (std::system("taskset -c 0 true 2>/dev/null") == 0) {
      EXPECT_EQ(weights_with("OMP_DYNAMIC=true", "taskset -c 0"), expected);
    }
  }
}

TEST_F(Training, InterruptedTwiceItEndsAtOnce) {
  // A micro-batch that takes many seconds: the first signal waits for its end.
  const pid_t child = start(
      folder_ + "/twice",
      {"train.global_batch_size=4000", "train.micro_batch_size=4000", "model.layers=200", "train.recompute=block"},
      says_into(folder_ + "/said"));
  ASSERT_TRUE(wait_until_there_is(folder_ + "/twice/metrics.jsonl", child));
  kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // sooner they would count as one
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0) << "once is not enough";
  EXPECT_EQ(read_file(folder_ + "/said"), kAcknowledged);
  kill(child, SIGINT);
  EXPECT_EQ(exit_code_of(child), 130);
}

// A file where the folder of checkpoints was: no save can succeed.
TEST_F(Training, ALastCheckpointThatCannotBeSavedIsAFailure) {
  WatchedRun o = options("unsaved");
  o.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 7) return;
    rename_path(o.run_dir + "/checkpoints", folder_ + "/moved");
    publish_text(o.run_dir + "/checkpoints", "");
  };
  try {
    train(load({"train.checkpoint.asynchronous=false"}), o);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Failed);
    EXPECT_NE(std::string(error.what()).find("the last one could not be saved"), std::string::npos) << error.what();
  }
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/moved")).position().step, 6);

  const std::string run = folder_ + "/stopped";
  const pid_t child = start(run, {"train.steps=100000", "train.checkpoint.every_steps=20"});
  ASSERT_TRUE(wait_until_there_is(run + "/checkpoints/latest", child));
  publish_text(folder_ + "/file", "");
  ASSERT_EQ(renameat2(AT_FDCWD, (folder_ + "/file").c_str(), AT_FDCWD, (run + "/checkpoints").c_str(), RENAME_EXCHANGE),
            0);
  kill(child, SIGTERM);
  EXPECT_EQ(exit_code_of(child), 1) << "75 would say that there is a good checkpoint";
}

TEST_F(Training, ADiskWithoutRoomForItsCheckpointsIsSaidBeforeTheFirstStep) {
  WatchedRun o = options("room");
  o.before_update = [](int64_t, ParameterSpace&) { fail("test", "no further"); };
  const auto said_with = [&](const std::vector<std::string>& overrides) {
    testing::internal::CaptureStderr();
    EXPECT_THROW(train(load(overrides), o), Error);
    remove_tree(o.run_dir);
    return testing::internal::GetCapturedStderr();
  };
  const std::string steps = "train.steps=1000000000", every = "train.checkpoint.every_steps=1",
                    all = "train.checkpoint.keep_every_steps=1";
  const std::string said = said_with({steps, every, all});
  // Three beside each other, and what is kept of a thousand million beside the newest three.
  EXPECT_NE(said.find("1000000000 more checkpoints of 0.00 GiB are to lie in " + o.run_dir + "/checkpoints at once"),
            std::string::npos)
      << said;
  for (const char* few : {"train.checkpoint.keep_every_steps=0", "train.checkpoint.every_steps=0"})
    EXPECT_EQ(said_with({steps, every, all, few}).find("more checkpoints"), std::string::npos) << few;
}

TEST_F(Training, TheLogHasHowItEnded) {
  WatchedRun o = options("ended");
  o.before_update = [](int64_t step, ParameterSpace&) {
    if (step == 4) fail("test", "first line\nsecond line");
  };
  EXPECT_THROW(train(load(), o), Error);
  const auto log_ends = [&](const std::string& line) {
    const std::string log = read_file(folder_ + "/ended/log.txt");
    return log.ends_with(" " + line + "\n") ? "" : log;
  };
  EXPECT_EQ(log_ends("gta: error: second line"), "");
  EXPECT_NE(read_file(folder_ + "/ended/log.txt").find(" gta: error: [test] first line\n"), std::string::npos);
  EXPECT_EQ(train(load(), options("ended")).outcome, TrainOutcome::Finished);
  EXPECT_EQ(log_ends("done: " + folder_ + "/ended after 12 steps"), "");
  EXPECT_EQ(train(load(), options("ended")).outcome, TrainOutcome::NothingToDo);
  EXPECT_EQ(log_ends("nothing to do: " + folder_ + "/ended/checkpoints/step-00000012 has all 12 steps"), "");
}

TEST_F(Training, OtherDataOrASmallerVocabularyIsRefusedOnResume) {
  ASSERT_EQ(train(load(), options("data")).outcome, TrainOutcome::Finished);
  const std::string before = weights("data");
  const auto expect = [&](const std::vector<std::string>& overrides, const std::string& run, const std::string& part) {
    try {
      train(load(overrides), options(run));
      ADD_FAILURE() << "expected an error: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect({"model.vocab_size=319"}, "small", "319 is smaller than the tokenizer's 320 pieces");
  EXPECT_FALSE(exists(folder_ + "/small"));
  publish_text(folder_ + "/other.txt", read_file(folder_ + "/text.txt").substr(1000));
  write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/other.txt"}, {}, folder_ + "/shards", "train");
  expect({"train.steps=20"}, "data", "the token shards, their order or their weights are not those that");
  EXPECT_EQ(before, weights("data"));
}

TEST_F(Training, MetricsHaveEachStepOnceAfterACrash) {
  WatchedRun o = options("crashed");
  o.before_update = [](int64_t step, ParameterSpace&) {
    if (step == 8) throw std::runtime_error("a crash");
  };
  EXPECT_THROW(train(load(), o), std::runtime_error);
  ASSERT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, 6);
  ASSERT_EQ(train(load(), options("crashed")).outcome, TrainOutcome::Finished);
  EXPECT_EQ(steps_of(o.run_dir), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
}

TEST_F(Training, ADiskThatIsFullBesideTheCheckpointsDoesNotEndTraining) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  WatchedRun o = options("full");
  make_directories(o.run_dir);
  publish_text(o.run_dir + "/run.lock", "");  // a run's folder
  ASSERT_EQ(symlink("/dev/full", (o.run_dir + "/metrics.jsonl").c_str()), 0);
  o.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 5) return;
    remove_tree(o.run_dir + "/samples");
    publish_text(o.run_dir + "/samples", "a file where the folder was");
  };
  testing::internal::CaptureStderr();
  std::string error;
  try {
    train(load({"train.sample_prompts=[abc]"}), o);
  } catch (const Error& failed) {
    EXPECT_EQ(failed.kind(), ErrorKind::Failed);
    error = failed.what();
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(error.find("rows of metrics.jsonl or of tensorboard/ could not be written, and are lost"),
            std::string::npos)
      << error;
  EXPECT_NE(said.find("; the rows wait in memory"), std::string::npos) << said;
  EXPECT_NE(said.find("no sample after step 12: "), std::string::npos) << said;
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, 12);
}

TEST_F(Training, ResumingWithAnotherConfigurationIsRefusedByKeyAndWritesNothing) {
  ASSERT_EQ(train(load(), options("changed")).outcome, TrainOutcome::Finished);
  const std::string before = weights("changed");
  try {
    train(load({"seed=5", "train.steps=20"}), options("changed"));
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("seed: 1234 -> 5"), std::string::npos) << error.what();
  }
  EXPECT_EQ(before, weights("changed"));
  EXPECT_EQ(train(load({"train.steps=14", "train.log_every_steps=1"}), options("changed")).step, 14);
  EXPECT_EQ(train(load({"train.steps=14"}), options("changed")).outcome, TrainOutcome::NothingToDo);
}

TEST_F(Training, ResumingWithOtherLibrariesOrHardwareSaysSo) {
  const std::string file = folder_ + "/moved/environment.json";
  const auto resumed = [&](int steps) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(train(load({fmt::format("train.steps={}", steps)}), options("moved")).step, steps);
    return testing::internal::GetCapturedStderr();
  };
  resumed(3);
  EXPECT_EQ(resumed(4).find("since the last start"), std::string::npos);
  nlohmann::json environment = nlohmann::json::parse(read_file(file));
  const std::string products = environment["products"];
  environment["products"] = "oneDNN 1.0.0";
  environment["started"] = "long ago";
  environment.erase("schedule_version");  // as a build wrote it whose last step had not reached final_ratio yet
  publish_text(file, environment.dump());
  const std::string said = resumed(5);
  EXPECT_NE(said.find("since the last start, sums may round otherwise: products: oneDNN 1.0.0 -> " + products),
            std::string::npos)
      << said;
  EXPECT_NE(
      said.find("since the last start, the learning rate follows a rule that reaches final_ratio at the last step"),
      std::string::npos)
      << said;
  EXPECT_EQ(said.find("long ago"), std::string::npos) << said;
  for (const char* damaged : {"", "{", "[1]", R"({"products": 7})"}) {
    publish_text(file, damaged);
    train(load({"train.steps=6"}), options("moved"));
  }
  remove_tree(file);
  EXPECT_EQ(resumed(7).find("sums may round otherwise"), std::string::npos);
}

TEST_F(Training, ADamagedCheckpointIsSkippedForTheOneBefore) {
  ASSERT_EQ(train(load(), options("damaged")).outcome, TrainOutcome::Finished);
  const std::string whole = weights("damaged"), newest = folder_ + "/damaged/checkpoints/step-00000012";
  for (const char* part : {"tokenizer", "master", "exp_avg_sq"}) {
    const Checkpoint checkpoint = Checkpoint::open(newest);
    for (const Checkpoint::Entry& entry : checkpoint.entries()) {
      if (entry.part != part) continue;
      std::string bytes = read_file(newest + "/" + entry.file);
      bytes[static_cast<size_t>(entry.offset)] ^= 1;
      publish_text(newest + "/" + entry.file, bytes);
      break;
    }
    ASSERT_EQ(train(load(), options("damaged")).outcome, TrainOutcome::Finished) << part;
    EXPECT_EQ(whole, weights("damaged")) << part;
    EXPECT_NO_THROW(Checkpoint::open(newest).verify()) << part << ": the run went on from another one, and saved again";
  }
}

TEST_F(Training, AFolderInUseIsRefusedAndItsHolderNamed) {
  WatchedRun o = options("locked");
  o.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 1) return;
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + o.run_dir), 1);
    EXPECT_NE(errors().find("in use by process " + std::to_string(getpid())), std::string::npos) << errors();
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --fresh --run-dir " + o.run_dir), 1)
        << "nor is it moved away under the one that runs";
    EXPECT_FALSE(exists(o.run_dir + ".before-1"));
  };
  train(load(), o);
}

TEST_F(Training, FreshMovesTheOldRunAside) {
  ASSERT_EQ(train(load(), options("fresh")).outcome, TrainOutcome::Finished);
  WatchedRun o = options("fresh");
  o.use = FolderUse::Fresh;
  ASSERT_EQ(train(load({"seed=5"}), o).outcome, TrainOutcome::Finished);
  EXPECT_NE(weights("fresh"), weights("fresh.before-1"));
  const std::string first = weights("fresh.before-1"), second = weights("fresh");
  ASSERT_EQ(train(load({"seed=6"}), o).outcome, TrainOutcome::Finished);
  EXPECT_EQ(weights("fresh.before-1"), first);
  EXPECT_EQ(weights("fresh.before-2"), second);
}

TEST_F(Training, InitFromTakesTheWeightsAlone) {
  ASSERT_EQ(train(load(), options("first")).outcome, TrainOutcome::Finished);
  WatchedRun o = options("second");
  std::vector<float> start;
  o.before_update = [&](int64_t step, ParameterSpace& space) {
    if (step == 0) start = space.values(ParameterKind::Matrix).to_vector<float>();
  };
  ASSERT_EQ(train(load({"train.init_from=" + folder_ + "/first", "seed=99"}), o).outcome, TrainOutcome::Finished);
  WatchedRun again = options("third");
  again.before_update = [&](int64_t step, ParameterSpace& space) {
    if (step == 0) {
      EXPECT_EQ(start, space.values(ParameterKind::Matrix).to_vector<float>());
    }
  };
  ASSERT_EQ(train(load({"train.init_from=" + folder_ + "/first", "seed=3"}), again).outcome, TrainOutcome::Finished);
}

TEST_F(Training, OutOfMemorySaysWhatWasAskedWhatIsHeldAndWhichKeyToLower) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "a sanitizer's shadow memory does not fit under ulimit -v";
  const int code = std::system(
      ("ulimit -v 400000; " + kGta + " train " + folder_ + "/run.yaml --run-dir " + folder_ +
       "/memory --force --threads 1 --device cpu --set model.vocab_size=1000000 --set model.hidden_size=64 2>" +
       folder_ + "/memory.txt")
          .c_str());
  EXPECT_EQ(WEXITSTATUS(code), 1);
  const std::string text = read_file(folder_ + "/memory.txt");
  for (const char* part : {"asked for", "held: parameters", "train.micro_batch_size"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

// From the least with which it begins to what it needs: a save that has no memory is a warning, and libraries that
// crash without (HDF5, oneDNN) are not called.
TEST_F(Training, UnderAnyLimitOnMemoryItEndsWithAMessage) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "a sanitizer's shadow memory does not fit under ulimit -v";
  int begun = 0, status = -1;
  for (int64_t kib = 60'000; status != 0 && kib<4'000'000; kib += begun> 0 ? 3'000 : 8'000) {
    status = std::system(fmt::format("ulimit -c 0; ulimit -v {}; exec {} train {}/run.yaml --run-dir {}/{} --threads 1 "
                                     "--device cpu --force --set train.steps=4 2>{}/said",
                                     kib, kGta, folder_, folder_, kib, folder_)
                             .c_str());
    const std::string said = read_file(folder_ + "/said");
    if (said.find("begins") == std::string::npos) continue;
    ++begun;
    EXPECT_TRUE(WIFEXITED(status)) << kib << " KiB, signal " << WTERMSIG(status) << "\n" << said;
    EXPECT_NE(said.find(status == 0 ? "done: " : "gta: error: "), std::string::npos) << said;
  }
  EXPECT_EQ(status, 0) << read_file(folder_ + "/said");
  EXPECT_GT(begun, 3) << "none of the limits was one with which it begins and does not end";
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
  const std::string absent = cuda_device_count() ? "cuda:" + std::to_string(cuda_device_count()) : "cuda";
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --device " + absent + " --run-dir " + folder_ + "/cuda"), 2);
  EXPECT_EQ(gta("train " + folder_ + "/run.yaml --set train.setps=3 --run-dir " + folder_ + "/typo"), 2);
  EXPECT_NE(errors().find("did you mean train.steps?"), std::string::npos) << errors();
  EXPECT_FALSE(exists(folder_ + "/typo"));
  EXPECT_FALSE(exists(folder_ + "/cuda"));
  EXPECT_EQ(gta("generate " + folder_ + "/nothing --prompt x"), 2);
}

}  // namespace
}  // namespace gta
