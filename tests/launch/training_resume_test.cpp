// How a run begins and goes on: what looking may cost, which checkpoint is taken, and what may have changed since.
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "launch/environment.h"
#include "launch/run_folder.h"
#include "launch/signals.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class Resume : public SmallRun {
 protected:
  // Steps of the rows that have this key.
  static std::vector<int64_t> steps_with(const std::string& run, const std::string& key) {
    std::istringstream rows(read_file(run + "/metrics.jsonl"));
    std::vector<int64_t> steps;
    for (std::string row; std::getline(rows, row);)
      if (const auto json = nlohmann::json::parse(row); json.contains(key)) steps.push_back(json.at("step"));
    return steps;
  }
  // The message of a BadInput; nothing may have been written in `run`.
  std::string refusal(const std::vector<std::string>& overrides, const std::string& run) {
    const bool there = exists(folder_ + "/" + run);
    try {
      train(load(overrides), options(run));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      EXPECT_EQ(exists(folder_ + "/" + run), there) << error.what();
      return error.what();
    }
    return "nothing was refused";
  }
  std::string said_by(const std::vector<std::string>& overrides, const WatchedRun& o) {
    testing::internal::CaptureStderr();
    try {
      train(load(overrides), o);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    return testing::internal::GetCapturedStderr();
  }
  std::vector<std::string> checkpoints(const std::string& run) {
    return list_checkpoints(folder_ + "/" + run + "/checkpoints");
  }
  // The step that a start of this run makes first.
  int64_t first_step(const std::vector<std::string>& overrides, const std::string& run) {
    int64_t first = -1;
    WatchedRun o = options(run);
    o.before_update = [&](int64_t step, ParameterSpace&) {
      if (first < 0) first = step;
    };
    train(load(overrides), o);
    return first;
  }
  static void expect_part(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\n  lacks: " << part;
  }
};

// A validation of some seconds.
class LongValidation : public Resume {
 protected:
  void SetUp() override {
    Resume::SetUp();
    const std::string text = read_file(folder_ + "/text.txt");
    std::string all;
    for (int i = 0; i < 30; ++i) all += text;
    publish_text(folder_ + "/long.txt", all);
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/long.txt"}, {}, folder_ + "/shards", "long");
  }
  std::string command(const std::string& run, const std::string& more) {
    return "train " + folder_ + "/run.yaml --threads 1 --run-dir " + folder_ + "/" + run + " --set data.validation=[" +
           folder_ + "/shards/long-00000.h5] --set train.validation_tokens=0 --set train.steps=6 " + more;
  }
  // The exit code (minus the signal that ended it) of the command that gets `signal` once there is a checkpoint of
  // `step`.
  int signalled(const std::string& run, const std::string& more, const std::string& step, int signal) {
    const pid_t child = fork();
    if (child == 0) {
      execl(
          "/bin/sh", "sh", "-c",
          ("exec " + kGta + " " + command(run, more) + " >>" + folder_ + "/out.txt 2>>" + folder_ + "/err.txt").c_str(),
          nullptr);
      _exit(127);
    }
    int status = 0;
    while (!exists(folder_ + "/" + run + "/checkpoints/step-" + step)) {
      if (waitpid(child, &status, WNOHANG) != 0) return -1000;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    kill(child, signal);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

TEST_F(LongValidation, IsNeitherWorthTheLastStepNorWaitedForByAStop) {
  ASSERT_EQ(gta(command("whole", "--set train.checkpoint.every_steps=0")), 0) << errors();
  for (const int signal : {SIGTERM, SIGKILL}) {
    const std::string run = "last-" + std::to_string(signal), more = "--set train.checkpoint.every_steps=0";
    EXPECT_EQ(signalled(run, more, "00000006", signal), signal == SIGKILL ? -SIGKILL : 75) << errors();
    EXPECT_EQ(weights(run), weights("whole")) << "saved before anything looked";
    EXPECT_FALSE(has_validation(folder_ + "/" + run + "/metrics.jsonl", 6));
    EXPECT_EQ(gta(command(run, more)), 0) << errors();
    EXPECT_EQ(steps_with(folder_ + "/" + run, "validation_loss"), (std::vector<int64_t>{6})) << "what was owed";
    EXPECT_EQ(gta(command(run, more)), 0) << errors();
    expect_part(errors(), "nothing to do");
  }
}

TEST_F(LongValidation, ThatAStopOrAKillCutShortIsMadeUpForByTheNextStart) {
  const std::string more = "--set train.checkpoint.every_steps=2 --set train.evaluate_every_steps=2";
  for (const int signal : {SIGTERM, SIGKILL}) {
    const std::string run = "middle-" + std::to_string(signal);
    EXPECT_EQ(signalled(run, more, "00000002", signal), signal == SIGKILL ? -SIGKILL : 75) << errors();
    EXPECT_EQ(checkpoints(run), (std::vector<std::string>{"step-00000002"})) << "the stop waited for more steps";
    EXPECT_EQ(gta(command(run, more)), 0) << errors();
    EXPECT_EQ(steps_with(folder_ + "/" + run, "validation_loss"), (std::vector<int64_t>{2, 4, 6}));
    EXPECT_EQ(steps_with(folder_ + "/" + run, "loss"), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  }
}

TEST_F(Resume, APromptThatDoesNotFitIsRefusedAtTheStartAndTheRunCanStillEnd) {
  const std::string prompt = "train.sample_prompts=['" + std::string(40, 'a') + " b c d e f g h i j k l m']";
  expect_part(refusal({prompt}, "prompt"), "[train.sample_prompts] 'aaaa");
  expect_part(refusal({prompt}, "prompt"), "the model sees at most 16");
  ASSERT_EQ(train(load({"train.steps=6"}), options("later")).step, 6);
  const std::string before = weights("later");
  expect_part(refusal({prompt, "train.steps=8"}, "later"), "train.sample_prompts");
  EXPECT_EQ(weights("later"), before);
  EXPECT_EQ(train(load({"train.steps=8", "train.sample_prompts=[ab]"}), options("later")).step, 8);
}

TEST_F(Resume, WhatOnlyLooksEndsNoRun) {
  // A profile that cannot be written, and a sample.
  WatchedRun o = options("looks");
  o.profile_steps = 2;
  make_directories(o.run_dir + "/profile.json");
  publish_text(o.run_dir + "/run.lock", "");  // a run's folder
  o.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 5) return;
    remove_tree(o.run_dir + "/samples");
    publish_text(o.run_dir + "/samples", "a file where the folder was");
  };
  const std::string said = said_by({"train.sample_prompts=[ab]"}, o);
  expect_part(said, "no profile after step 2: ");
  expect_part(said, "no sample after step 12: ");
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, 12);
}

TEST_F(Resume, TheResumePointIsChosenUnderTheLock) {
  WatchedRun o = options("locked");
  o.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 7) return;
    // What this start would be refused for anyway it does not even look at.
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --set seed=77 --run-dir " + o.run_dir), 1);
    expect_part(errors(), "in use by process " + std::to_string(getpid()));
    EXPECT_EQ(errors().find("another configuration"), std::string::npos) << errors();
  };
  train(load(), o);
}

TEST_F(Resume, TheLastCheckpointBeforeARowOfSkippedStepsStaysAndALowerLearningRateGoesBackToIt) {
  const std::vector<std::string> every = {"train.checkpoint.every_steps=1", "train.checkpoint.keep=2",
                                          "train.max_skipped_steps=6"};
  const auto with = [&](const std::string& more) {
    std::vector<std::string> overrides = every;
    overrides.push_back(more);
    return overrides;
  };
  WatchedRun o = options("row");
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step >= 4) set(space.gradients(ParameterKind::Matrix), 0, INFINITY);
  };
  try {
    train(load(every), o);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    expect_part(error.what(), "6 steps in a row were not finite");
    expect_part(error.what(), "with a lower optimizer.learning_rate: it then goes on from " + folder_ +
                                  "/row/checkpoints/step-00000004");
  }
  EXPECT_EQ(checkpoints("row"), (std::vector<std::string>{"step-00000004", "step-00000008", "step-00000009"}));
  std::filesystem::copy(folder_ + "/row", folder_ + "/same",
                        std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  EXPECT_EQ(first_step(every, "same"), 9) << "nothing was lowered: it goes on where it was";

  std::string said;
  int64_t first = -1;
  WatchedRun again = options("row");
  again.before_update = [&](int64_t step, ParameterSpace&) {
    if (first >= 0) return;
    first = step;
    EXPECT_EQ(checkpoints("row"), (std::vector<std::string>{"step-00000004"}));
    EXPECT_EQ(std::filesystem::read_symlink(folder_ + "/row/checkpoints/latest"), "step-00000004");
  };
  said = said_by(with("optimizer.learning_rate=5e-3"), again);
  EXPECT_EQ(first, 4);
  expect_part(said, "goes back to " + folder_ + "/row/checkpoints/step-00000004");
  EXPECT_TRUE(exists(folder_ + "/row/checkpoints/step-00000009.set-aside/manifest.json")) << "nothing was deleted";
  EXPECT_EQ(steps_with(o.run_dir, "loss"), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().skipped_steps, 0);
}

TEST_F(Resume, DivergedWeightsAreSaidAndNoCheckpointOfThemCountsAsGood) {
  std::vector<std::string> overrides = {"optimizer.schedule.type=constant", "optimizer.schedule.warmup_steps=0",
                                        "train.checkpoint.every_steps=1", "train.checkpoint.keep=1", "train.steps=3"};
  ASSERT_EQ(train(load(overrides), options("diverged")).step, 3);
  // From here on every update throws the weights far away; the losses stay finite.
  WatchedRun o = options("diverged");
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step == 3)
      space.values(ParameterKind::Matrix)
          .copy_from(Tensor::from<float>(space.values(ParameterKind::Matrix).shape(),
                                         std::vector<float>(space.layout().flat_size(ParameterKind::Matrix), 50.f)));
  };
  overrides.back() = "train.steps=6";
  const std::string said = said_by(overrides, o);
  expect_part(said, "the weights have diverged: their root mean square is 4");
  expect_part(said, "after step 4, beyond 10; lower optimizer.learning_rate");
  EXPECT_FALSE(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().sound);
  EXPECT_EQ(checkpoints("diverged"), (std::vector<std::string>{"step-00000003", "step-00000006"}));
  overrides.push_back("optimizer.learning_rate=1e-3");
  EXPECT_EQ(first_step(overrides, "diverged"), 3);
  EXPECT_TRUE(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().sound);
}

TEST_F(Resume, ARunWhoseCheckpointsAreAllDamagedIsNotBegunAnewInSilence) {
  ASSERT_EQ(train(load(), options("damaged")).step, 12);
  for (const std::string& name : checkpoints("damaged")) {
    const std::string file = folder_ + "/damaged/checkpoints/" + name + "/rank-0000-of-0001.h5";
    std::string bytes = read_file(file);
    bytes[bytes.size() / 2] ^= 1;
    publish_text(file, bytes);
  }
  const std::string metrics = read_file(folder_ + "/damaged/metrics.jsonl");
  expect_part(refusal({}, "damaged"), "has 3 checkpoints, and none is whole");
  EXPECT_EQ(read_file(folder_ + "/damaged/metrics.jsonl"), metrics);
}

TEST_F(Resume, AMovedProjectGoesOnAndOtherContentDoesNot) {
  ASSERT_EQ(train(load({"train.steps=6"}), options("run")).step, 6);
  const std::string elsewhere = folder_ + "-moved";
  std::filesystem::copy(folder_, elsewhere,
                        std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  struct Remove {
    std::string path;
    ~Remove() { remove_tree(path); }
  } remove{elsewhere};
  ASSERT_EQ(gta("train " + elsewhere + "/run.yaml --set train.steps=9 --run-dir " + elsewhere + "/run"), 0) << errors();
  expect_part(errors(),
              "the same, elsewhere: data.tokenizer: \"" + folder_ + "/t.model\" -> \"" + elsewhere + "/t.model\"");
  expect_part(errors(), "the same, elsewhere: data.train: [\"" + folder_);
  ASSERT_EQ(train(load({"train.steps=9"}), options("run")).step, 9);
  EXPECT_EQ(read_file(elsewhere + "/run/checkpoints/step-00000009/rank-0000-of-0001.h5"),
            read_file(folder_ + "/run/checkpoints/step-00000009/rank-0000-of-0001.h5"));

  // The same name, other content.
  train_tokenizer({read_file(folder_ + "/text.txt").substr(3000)}, 320, folder_ + "/t.model");
  for (const char* name : {"train", "documents"})
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/text.txt"}, {}, folder_ + "/shards", name);
  expect_part(refusal({"train.steps=12"}, "run"), "is not the tokenizer that");
}

// In the middle of a step of many micro-batches, and of the first one.
TEST_F(Resume, AStopBetweenMicroBatchesGivesTheStepUpAndKeepsTheStateBeforeIt) {
  const std::vector<std::string> overrides = {"train.global_batch_size=8", "train.micro_batch_size=1",
                                              "train.checkpoint.every_steps=2", "train.checkpoint.asynchronous=false"};
  ASSERT_EQ(train(load(overrides), options("whole")).outcome, TrainOutcome::Finished);
  install_signal_handlers();
  for (const int64_t at : {0, 3, 4}) {
    const std::string run = "stopped-" + std::to_string(at), saved = folder_ + "/" + run + "/checkpoints/step-00000004";
    WatchedRun o = options(run);
    std::vector<int64_t> parts;
    struct stat before {
    }, after{};
    o.before_micro_batch = [&](int64_t step, int64_t part) {
      if (step != at) return;
      parts.push_back(part);
      if (part != 2) return;
      stat(saved.c_str(), &before);
      raise(SIGTERM);
    };
    const TrainResult stopped = train(load(overrides), o);
    EXPECT_EQ(stopped.outcome, TrainOutcome::Interrupted);
    EXPECT_EQ(stopped.step, at);
    EXPECT_EQ(parts, (std::vector<int64_t>{0, 1, 2}));
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, at);
    stat(saved.c_str(), &after);
    EXPECT_EQ(before.st_ino, after.st_ino) << "what is saved is not saved again";
    ASSERT_EQ(train(load(overrides), options(run)).outcome, TrainOutcome::Finished);
    EXPECT_EQ(weights(run), weights("whole")) << at;
  }
}

TEST_F(Resume, AStepWhoseDataCannotBeReadEndsTheRunAndKeepsTheStateBeforeIt) {
  ASSERT_EQ(train(load(), options("whole")).outcome, TrainOutcome::Finished);
  WatchedRun o = options("lost");
  o.before_micro_batch = [](int64_t step, int64_t part) {
    if (step == 7 && part == 1) fail("train-00000.h5", "ends at byte 4096");
  };
  try {
    train(load(), o);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Failed);
    expect_part(error.what(), "train-00000.h5");
  }
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(o.run_dir)).position().step, 7);
  EXPECT_EQ(steps_with(o.run_dir, "loss").back(), 7);
  ASSERT_EQ(train(load(), options("lost")).outcome, TrainOutcome::Finished);
  EXPECT_EQ(weights("lost"), weights("whole"));
}

TEST_F(Resume, CheckpointsThatAreOutOfReachLetNoRunBeginAnew) {
  const std::string run = folder_ + "/linked", link = run + "/checkpoints", disk = folder_ + "/disk";
  const auto refused = [&](ErrorKind kind) -> std::string {
    const std::string metrics = exists(run + "/metrics.jsonl") ? read_file(run + "/metrics.jsonl") : "";
    try {
      train(load({"train.steps=9"}), options("linked"));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_EQ(exists(run + "/metrics.jsonl") ? read_file(run + "/metrics.jsonl") : "", metrics);
      EXPECT_FALSE(metrics.empty() && exists(run + "/config.yaml"));
      return error.what();
    }
    ADD_FAILURE() << "nothing was refused";
    return "";
  };
  make_directories(run);
  publish_text(run + "/run.lock", "");
  ASSERT_EQ(symlink(disk.c_str(), link.c_str()), 0);
  expect_part(refused(ErrorKind::Failed), "is a link to " + disk + ", which is not there");
  make_directories(disk);
  ASSERT_EQ(train(load({"train.steps=6"}), options("linked")).outcome, TrainOutcome::Finished);
  rename_path(disk, disk + ".unmounted");
  expect_part(refused(ErrorKind::BadInput), "the last of step 6 in " + disk);
  make_directories(disk);  // the mount point
  expect_part(refused(ErrorKind::BadInput), "not mounted, mount it; or begin anew with --fresh");
  remove_tree(disk);
  rename_path(disk + ".unmounted", disk);
  remove_tree(disk + "/step-00000006");
  expect_part(said_by({"train.steps=9"}, options("linked")), "a checkpoint of step 6 was saved in " + disk);
  EXPECT_EQ(steps_with(run, "loss").back(), 9);
}

TEST_F(Resume, ARunWhoseFolderIsRenamedGoesWithIt) {
  ASSERT_EQ(train(load(), options("whole")).outcome, TrainOutcome::Finished);
  for (const char* what : {"renamed", "unlocked"}) {
    WatchedRun o = options(what);
    const std::string moved = o.run_dir + ".moved";
    o.before_update = [&](int64_t step, ParameterSpace&) {
      if (step != 4) return;
      if (what == std::string("unlocked")) {
        remove_tree(o.run_dir + "/run.lock");
        return;
      }
      rename_path(o.run_dir, moved);
      // Another run under the old name.
      EXPECT_EQ(gta("train " + folder_ + "/run.yaml --set train.steps=5 --set seed=5 --run-dir " + o.run_dir), 0)
          << errors();
    };
    // A save in flight would fail, with a warning, and the next one make up for it.
    const TrainResult result = train(load({"train.checkpoint.asynchronous=false"}), o);
    EXPECT_EQ(result.run_dir, what == std::string("renamed") ? moved : o.run_dir);
    EXPECT_EQ(weights(result.run_dir.substr(folder_.size() + 1)), weights("whole"));
    EXPECT_EQ(steps_with(result.run_dir, "loss").size(), 12u);
  }
  EXPECT_EQ(checkpoints("renamed"), (std::vector<std::string>{"step-00000003", "step-00000005"}));
  WatchedRun gone = options("gone");
  gone.before_update = [&](int64_t step, ParameterSpace&) {
    if (step == 4) remove_tree(gone.run_dir);
  };
  testing::internal::CaptureStderr();
  EXPECT_THROW(train(load({"train.checkpoint.asynchronous=false"}), gone), Error);
  const std::string said = testing::internal::GetCapturedStderr();
  expect_part(said, "the checkpoint of step 6 could not be saved");
  expect_part(said, "is gone: the run's folder was removed while it trained");
  EXPECT_FALSE(exists(gone.run_dir));

  // Away for a moment, as a network's disk may be.
  WatchedRun away = options("away");
  away.before_update = [&](int64_t step, ParameterSpace&) {
    if (step == 4)
      rename_path(away.run_dir + "/run.lock", folder_ + "/lock"), rename_path(away.run_dir, folder_ + "/x");
    if (step == 7)
      rename_path(folder_ + "/x", away.run_dir), rename_path(folder_ + "/lock", away.run_dir + "/run.lock");
  };
  EXPECT_EQ(train(load({"train.checkpoint.asynchronous=false"}), away).outcome, TrainOutcome::Finished);
  EXPECT_FALSE(exists(folder_ + "/checkpoints")) << "where the lock's file lay meanwhile";
  EXPECT_EQ(weights("away"), weights("whole"));
  EXPECT_EQ(checkpoints("away"), (std::vector<std::string>{"step-00000003", "step-00000009", "step-00000012"}));
}

TEST_F(Resume, ACheckpointUnderAnotherStepsNameIsNeitherTakenNorPrunesTheRunsOwn) {
  ASSERT_EQ(train(load(), options("named")).outcome, TrainOutcome::Finished);
  const std::string directory = folder_ + "/named/checkpoints";
  rename_path(directory + "/step-00000012", directory + "/step-00000099");
  expect_part(said_by({"train.steps=15", "train.checkpoint.keep=1"}, options("named")),
              "holds step 12, not the one of its name: rename it step-00000012");
  const std::vector<std::string> names = checkpoints("named");
  EXPECT_NE(std::find(names.begin(), names.end(), "step-00000015"), names.end());
  remove_tree(directory + "/step-00000099");
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/named")).position().step, 15);
}

TEST_F(Resume, AListOfThousandsOfShardsIsOneShortLine) {
  std::string many;
  for (int i = 0; i < 300; ++i) {
    std::filesystem::copy(folder_ + "/shards/train-00000.h5", folder_ + fmt::format("/shards/copy-{:05}.h5", i));
    many += fmt::format("{}{}/shards/copy-{:05}.h5", i ? ", " : "", folder_, i);
  }
  ASSERT_EQ(train(load({"data.train=[" + many + "]", "train.steps=3"}), options("many")).step, 3);
  const std::string text = refusal({"seed=5"}, "many");
  EXPECT_LT(text.size(), 1000u) << text;
  EXPECT_LT(refusal({}, "many").size(), 500u) << "other data";
}

TEST_F(Resume, AKeyThatTheTypeOfAttentionDoesNotUseMayChange) {
  ASSERT_EQ(train(load({"train.steps=3", "model.attention.type=gqa"}), options("unused")).step, 3);
  EXPECT_EQ(
      train(load({"train.steps=6", "model.attention.type=gqa", "model.attention.latent_dim=16"}), options("unused"))
          .step,
      6);
  expect_part(refusal({"train.steps=9", "model.attention.type=gqa", "model.attention.kv_heads=4"}, "unused"),
              "model.attention.kv_heads: 2 -> 4");
}

TEST_F(Resume, InitFromTakesWeightsOnlyWhereTheyMeanTheSame) {
  ASSERT_EQ(train(load({"train.steps=3", "model.attention.type=mha"}), options("first")).step, 3);
  const std::string from = "train.init_from=" + folder_ + "/first", mha = "model.attention.type=mha";
  // Every parameter of these has the same shape.
  expect_part(refusal({from, mha, "model.heads=8", "model.head_dim=4"}, "second"), "model.heads: 4 -> 8");
  expect_part(refusal({from, "model.attention.type=gqa", "model.attention.kv_heads=4"}, "second"),
              "model.attention.type: mha -> gqa");
  expect_part(refusal({"train.init_from=" + folder_ + "/absent"}, "second"),
              "[train.init_from] " + folder_ + "/absent does not exist");
  const std::string said = said_by({from, mha, "train.steps=3", "model.rope_theta=500000",
                                    "model.max_sequence_length=64", "model.initializer_range=0.5"},
                                   options("second"));
  expect_part(said, "the weights were trained with another model.rope_theta: 10000.0 -> 500000.0");
  EXPECT_EQ(said.find("initializer_range"), std::string::npos) << said;

  train_tokenizer({read_file(folder_ + "/text.txt").substr(3000)}, 320, folder_ + "/t.model");
  write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/text.txt"}, {}, folder_ + "/shards", "train");
  expect_part(refusal({from, mha}, "third"), "is not the tokenizer that");
}

TEST_F(Resume, ARunGoesOnWithoutTheWeightsThatItBeganWith) {
  ASSERT_EQ(train(load({"train.steps=3"}), options("first")).step, 3);
  const std::string from = "train.init_from=" + folder_ + "/first";
  ASSERT_EQ(train(load({from, "train.steps=3"}), options("second")).step, 3);
  remove_tree(folder_ + "/first");
  EXPECT_EQ(train(load({from, "train.steps=6"}), options("second")).step, 6);
}

TEST_F(Resume, EqualRunsAreEqualFiles) {
  const auto files = [&](const std::string& run) {
    write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/text.txt"}, {}, folder_ + "/shards-" + run,
                 "train");
    EXPECT_EQ(train(load({"train.evaluate_every_steps=4"}), options(run)).step, 12);
    std::vector<std::string> bytes = {read_file(folder_ + "/shards-" + run + "/train-00000.h5")};
    for (const std::string& name : checkpoints(run))
      for (const char* file : {"manifest.json", "rank-0000-of-0001.h5"})
        bytes.push_back(read_file(folder_ + "/" + run + "/checkpoints/" + name + "/" + file));
    return bytes;
  };
  const std::vector<std::string> first = files("first");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5 keeps times in seconds
  EXPECT_EQ(first, files("second"));
}

int64_t bytes_read() {
  std::ifstream file("/proc/self/io");
  std::string name;
  int64_t value = 0;
  while (file >> name >> value)
    if (name == "rchar:") return value;
  return -1;
}

TEST_F(Resume, ReadsItsCheckpointOnce) {
  if (bytes_read() < 0) GTEST_SKIP() << "the system does not count what is read";
  const std::vector<std::string> wide = {"model.hidden_size=256", "model.intermediate_size=1024",
                                         "train.checkpoint.every_steps=0"};
  const auto with_steps = [&](int steps) {
    std::vector<std::string> overrides = wide;
    overrides.push_back("train.steps=" + std::to_string(steps));
    return overrides;
  };
  ASSERT_EQ(train(load(with_steps(2)), options("once")).step, 2);
  const int64_t size =
      static_cast<int64_t>(read_file(resolve_checkpoint(folder_ + "/once") + "/rank-0000-of-0001.h5").size());
  ASSERT_GT(size, 10 << 20);
  WatchedRun o = options("once");
  const int64_t before = bytes_read();
  int64_t resumed = 0;
  o.before_update = [&](int64_t, ParameterSpace&) { resumed = bytes_read() - before; };
  train(load(with_steps(3)), o);
  EXPECT_LT(resumed, size * 5 / 4);
  const int64_t nothing = bytes_read();
  train(load(with_steps(3)), options("once"));
  EXPECT_LT(bytes_read() - nothing, size * 5 / 4) << "to find that there is nothing to do";
}

TEST_F(Resume, WhatTheConfigurationAsksForInVainIsSaid) {
  std::filesystem::copy(folder_ + "/shards/train-00000.h5", folder_ + "/shards/train-00001.h5");
  const std::string said = said_by({"train.steps=2", "train.checkpoint.keep_every_steps=7",
                                    "train.sample_every_steps=1", "optimizer.schedule.decay_steps=1"},
                                   options("vain"));
  expect_part(said, "train.checkpoint.keep_every_steps 7 keeps nothing");
  expect_part(said, "train.sample_every_steps has no effect");
  expect_part(said, "optimizer.schedule.decay_steps has no effect: the schedule is cosine");
  expect_part(said, "data.train has the same shard twice, and trains on it twice as often: " + folder_ +
                        "/shards/train-00000.h5 and " + folder_ + "/shards/train-00001.h5");
  expect_part(said, "data.validation has what the run is trained on: " + folder_ + "/shards/train-00000.h5");
  const std::string blind = said_by(
      {"train.steps=2", "data.validation=[]", "train.evaluate_every_steps=1", "train.checkpoint.keep_every_steps=2"},
      options("blind"));
  expect_part(blind, "train.evaluate_every_steps has no effect: data.validation is empty");
  EXPECT_EQ(blind.find("keeps nothing"), std::string::npos) << blind;
  // Saved are the multiples of every_steps, and the last step.
  struct Kept {
    int every, keep, steps;
    const char* vain;
  };
  for (const Kept& k : {Kept{3, 2, 7, nullptr},
                        {3, 4, 11, "every 3 steps"},
                        {3, 4, 12, nullptr},
                        {2, 4, 4, nullptr},
                        {0, 4, 8, nullptr},
                        {0, 3, 8, "at the end only"}}) {
    const auto key = [](const char* name, int value) { return fmt::format("{}={}", name, value); };
    WatchedRun o = options(fmt::format("kept-{}-{}-{}", k.every, k.keep, k.steps));
    o.device = "cpu";
    const std::string told = said_by({key("train.steps", k.steps), key("train.checkpoint.every_steps", k.every),
                                      key("train.checkpoint.keep_every_steps", k.keep)},
                                     o);
    if (k.vain)
      expect_part(told,
                  fmt::format("keep_every_steps {} keeps nothing: checkpoints are saved {}, and", k.keep, k.vain));
    else
      EXPECT_EQ(told.find("keeps nothing"), std::string::npos) << told;
  }
}

}  // namespace
}  // namespace gta
