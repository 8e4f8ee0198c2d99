// Ranks as threads of this process train together as one does.
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>

#include "core/allocator.h"
#include "core/comm/mpi_transport.h"
#include "core/comm/nccl_transport.h"
#include "core/error.h"
#include "core/sanitizer.h"
#include "launch/metrics.h"
#include "launch/plan.h"
#include "launch/signals.h"
#include "tests/launch/ranks_of_small_run.h"

namespace gta {
namespace {

const char* const kTypes[] = {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"};

class Ranks : public RanksOfSmallRun {};

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double bound, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], bound) << what << ", step " << i + 1;
}

TEST_F(Ranks, AnyNumberOfThemTrainsAsOneDoes) {
  for (const char* type : kTypes)
    for (const char* tied : {"true", "false"}) {
      // What ranks do to each other is the same with all of them, and takes the thread sanitizer half an hour.
      if (kThreadSanitizer && std::string(type) != "gta") continue;
      const auto train_with = [&](int64_t ranks) {
        const std::string run = fmt::format("{}-{}-{}", type, tied, ranks);
        expect_ended_well(train_as(
            ranks, run,
            {fmt::format("model.attention.type={}", type), fmt::format("model.tie_embeddings={}", tied),
             "train.steps=100", "train.global_batch_size=12", "train.micro_batch_size=1", "train.bucket_mib=1",
             "optimizer.learning_rate=1e-3", "train.checkpoint.every_steps=40", "train.evaluate_every_steps=50"}));
        return losses(run);
      };
      const std::vector<double> alone = train_with(1);
      ASSERT_EQ(alone.size(), 100U);
      for (int64_t ranks = 2; ranks <= 4; ++ranks)
        expect_near(train_with(ranks), alone, 1e-5, fmt::format("{}, tied {}, {} ranks", type, tied, ranks));
    }
}

// What a run may be beside the plain one: number formats, what is computed twice, masks, mixtures, micro-batches.
TEST_F(Ranks, TrainAsOneDoesInEveryMode) {
  const std::string mixture = fmt::format(
      "data.train=[{{shards: [{0}/shards/train-00000.h5], weight: 2}}, {{shards: [{0}/shards/documents-00000.h5], "
      "weight: 1}}]",
      folder_);
  const std::vector<std::vector<std::string>> modes = {
      {"train.dtype=bfloat16"},
      {"train.dtype=bfloat16", "train.recompute=block", "train.sharding=none"},
      {"train.recompute=elementwise", "train.sharding=none"},
      {"train.recompute=block", "model.tie_embeddings=true"},
      {"data.document_mask=true", "train.micro_batch_size=2"},
      {mixture, "train.z_loss=1e-3", "train.micro_batch_size=2"},
      {"train.diagnose_every_steps=4", "train.micro_batch_size=auto"},
  };
  for (size_t mode = 0; mode < modes.size(); ++mode) {
    const auto train_with = [&](int64_t ranks, const char* again) {
      std::vector<std::string> overrides = {"train.steps=12", "train.global_batch_size=12", "train.micro_batch_size=1"};
      overrides.insert(overrides.end(), modes[mode].begin(), modes[mode].end());
      const std::string run = fmt::format("mode{}-{}{}", mode, ranks, again);
      expect_ended_well(train_as(ranks, run, overrides));
      return losses(run);
    };
    const bool bfloat16 = modes[mode][0] == "train.dtype=bfloat16";
    const std::vector<double> alone = train_with(1, "");
    for (int64_t ranks : {2, 3}) {
      const std::vector<double> together = train_with(ranks, "");
      expect_near(together, alone, bfloat16 ? 5e-3 : 1e-5, fmt::format("{}, {} ranks", modes[mode][0], ranks));
      EXPECT_EQ(train_with(ranks, "-again"), together) << modes[mode][0];
      EXPECT_EQ(weights(fmt::format("mode{}-{}-again", mode, ranks)), weights(fmt::format("mode{}-{}", mode, ranks)));
    }
  }
  const auto diagnosis_of = [&](int64_t ranks) {
    for (const MetricsRow& row : read_metrics(fmt::format("{}/mode6-{}/metrics.jsonl", folder_, ranks)))
      if (const auto* diagnosis = std::get_if<DiagnosisRow>(&row)) return diagnosis->values;
    return std::map<std::string, double>{};
  };
  const std::map<std::string, double> alone = diagnosis_of(1), together = diagnosis_of(3);
  ASSERT_FALSE(alone.empty());
  for (const auto& [name, value] : alone)
    if (name.find("norm/") != std::string::npos) {
      EXPECT_NEAR(together.at(name), value, 1e-4 * value) << name;
    }
}

// Stops and starts with other numbers of ranks: every sample once, whoever takes it.
TEST_F(Ranks, TheirNumberMayChangeFromStartToStart) {
  const std::vector<std::string> overrides = {"train.global_batch_size=12", "train.micro_batch_size=1"};
  const auto until = [&](int64_t steps) {
    std::vector<std::string> all = overrides;
    all.push_back(fmt::format("train.steps={}", steps));
    all.push_back("optimizer.schedule.steps=12");
    return all;
  };
  int64_t step = 0;
  for (int64_t ranks : {4, 2, 3, 1}) {
    step += 3;
    expect_ended_well(train_as(ranks, "changing", until(step)));
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/changing")).files().size(), static_cast<size_t>(ranks));
  }
  expect_ended_well(train_as(1, "alone", until(12)));
  expect_near(losses("changing"), losses("alone"), 1e-5, "4, 2, 3 and 1 ranks");
  // The same number goes on with the same bits.
  for (int64_t end : {5, 12}) expect_ended_well(train_as(3, "two starts", until(end)));
  expect_ended_well(train_as(3, "one start", until(12)));
  EXPECT_EQ(weights("two starts"), weights("one start"));
}

// Of an epoch of samples, whoever reads them and whoever dies: those of the steps that count, each once.
TEST_F(Ranks, EverySampleComesOnceWhateverTheirNumberAndWhoeverDies) {
  constexpr int64_t kLength = 16, kBatch = 12, kSteps = 29;  // 348 of the epoch's 355 samples
  std::mutex mutex;
  std::map<int64_t, std::map<std::vector<int32_t>, int64_t>> samples;  // by step, how often each came
  const auto part = [&](int64_t ranks, int64_t steps, int64_t dies_at) {
    std::map<int64_t, std::map<std::vector<int32_t>, int64_t>> read;
    const std::vector<RankEnd> ends =
        train_as(ranks, "samples",
                 {"train.global_batch_size=12", "train.micro_batch_size=1", fmt::format("train.steps={}", steps),
                  "optimizer.schedule.steps=40", "train.checkpoint.every_steps=2"},
                 [&](int64_t rank) {
                   TrainHooks hooks;
                   hooks.with_batch = [&](int64_t step, const std::vector<int32_t>& tokens) {
                     const std::lock_guard lock(mutex);
                     for (size_t at = 0; at < tokens.size(); at += kLength)
                       ++read[step][{tokens.begin() + static_cast<std::ptrdiff_t>(at),
                                     tokens.begin() + static_cast<std::ptrdiff_t>(at) + kLength}];
                   };
                   hooks.before_update = [=](int64_t step, ParameterSpace&) {
                     if (rank == ranks - 1 && step == dies_at) fail("rank", "dies");
                   };
                   return hooks;
                 });
    if (dies_at < 0) {
      expect_ended_well(ends);
    } else {
      EXPECT_FALSE(ends[0].result) << "went on without rank " << ranks - 1;
    }
    for (auto& [step, of_step] : read) samples[step] = std::move(of_step);  // what is taken again counts
  };
  part(4, kSteps, 9);
  part(2, kSteps, 15);
  part(3, kSteps, 22);
  part(1, 25, -1);
  part(4, kSteps, -1);
  std::map<std::vector<int32_t>, int64_t> all;
  ASSERT_EQ(samples.size(), static_cast<size_t>(kSteps));
  for (const auto& [step, of_step] : samples) {
    EXPECT_EQ(of_step.size(), static_cast<size_t>(kBatch)) << step;
    for (const auto& [tokens, times] : of_step) all[tokens] += times;
  }
  EXPECT_EQ(all.size(), static_cast<size_t>(kSteps * kBatch));
  for (const auto& [tokens, times] : all) EXPECT_EQ(times, 1);
}

TEST_F(Ranks, ASignalStopsAllOfThemAfterTheSameStepAndTheyGoOnToTheSameBits) {
  install_signal_handlers();
  const std::vector<std::string> overrides = {"train.micro_batch_size=1"};
  expect_ended_well(train_as(2, "whole", overrides));
  for (int64_t at : {0, 4, 11}) {
    const std::string run = fmt::format("stopped-{}", at);
    const std::vector<RankEnd> ends = train_as(2, run, overrides, [&](int64_t rank) {
      TrainHooks hooks;
      hooks.before_micro_batch = [=](int64_t step, int64_t part) {
        if (rank == 1 && step == at && part == 0) raise(SIGTERM);
      };
      return hooks;
    });
    expect_ended_well(ends);
    for (const RankEnd& end : ends) {
      EXPECT_EQ(end.result->outcome, TrainOutcome::Interrupted) << "after the last step validation is left";
      EXPECT_EQ(end.result->step, at + 1);
    }
    expect_ended_well(train_as(2, run, overrides));
    EXPECT_EQ(weights(run), weights("whole"));
  }
}

TEST_F(Ranks, WhatOneCannotComputeEndsAllOfThemSavedAndNamesIt) {
  const std::vector<std::string> overrides = {"train.micro_batch_size=1"};
  expect_ended_well(train_as(2, "whole", overrides));
  for (int64_t failing : {0, 1})
    for (int64_t part : {0, 1}) {
      const std::string run = fmt::format("lost-{}-{}", failing, part);
      const std::vector<RankEnd> ends = train_as(2, run, overrides, [&](int64_t rank) {
        TrainHooks hooks;
        hooks.before_micro_batch = [=](int64_t step, int64_t at) {
          if (rank == failing && step == 7 && at == part) fail("train-00000.h5", "ends at byte 4096");
        };
        return hooks;
      });
      for (const RankEnd& end : ends) {
        EXPECT_TRUE(end.agreed);
        EXPECT_NE(end.error.find(fmt::format("rank {} of 2", failing)), std::string::npos) << end.error;
        EXPECT_NE(end.error.find("ends at byte 4096"), std::string::npos) << end.error;
      }
      EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/" + run)).position().step, 7);
      expect_ended_well(train_as(2, run, overrides));
      EXPECT_EQ(weights(run), weights("whole"));
    }
}

TEST_F(Ranks, ANumberThatIsNotFiniteOnOneSkipsTheStepOnAll) {
  for (int64_t bad : {0, 1}) {
    const std::string run = fmt::format("skips-{}", bad);
    const std::vector<RankEnd> ends =
        train_as(2, run, {"train.micro_batch_size=1", "train.max_skipped_steps=2"}, [&](int64_t rank) {
          TrainHooks hooks;
          hooks.with_loss = [=](int64_t step, const Tensor& losses) {
            if (rank == bad && step == 5) losses.column_slice(1, 1).copy_from(Tensor::from<double>({1}, {NAN}));
          };
          return hooks;
        });
    expect_ended_well(ends);
    const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(folder_ + "/" + run));
    EXPECT_EQ(checkpoint.position().skipped_steps, 1);
    EXPECT_EQ(checkpoint.position().updates, 11);
  }
  const std::vector<RankEnd> ends =
      train_as(2, "ends", {"train.micro_batch_size=1", "train.max_skipped_steps=2"}, [&](int64_t rank) {
        TrainHooks hooks;
        hooks.with_loss = [=](int64_t step, const Tensor& losses) {
          if (rank == 1 && step >= 5) losses.column_slice(0, 1).copy_from(Tensor::from<double>({1}, {INFINITY}));
        };
        return hooks;
      });
  for (const RankEnd& end : ends) {
    EXPECT_TRUE(end.agreed);
    EXPECT_NE(end.error.find("2 steps in a row were not finite"), std::string::npos) << end.error;
  }
}

TEST_F(Ranks, WhatDoesNotFitIsRefusedByAllBeforeAnythingIsWritten) {
  const auto refusals = [&](const std::vector<std::string>& overrides, const char* what) {
    for (const RankEnd& end : train_as(3, "refused", overrides)) {
      EXPECT_TRUE(end.agreed) << end.error;
      EXPECT_NE(end.error.find(what), std::string::npos) << end.error;
    }
    EXPECT_FALSE(exists(folder_ + "/refused"));
  };
  refusals({"train.micro_batch_size=1"}, "4 is no multiple of 3 ranks");
  refusals({"train.global_batch_size=12", "data.train=[nowhere.h5]"}, "nowhere.h5");
  expect_ended_well(train_as(1, "run", {}));
  for (const RankEnd& end : train_as(2, "run", {"model.hidden_size=64", "train.micro_batch_size=1"}))
    EXPECT_NE(end.error.find("model.hidden_size: 32 -> 64"), std::string::npos) << end.error;
}

// Those of one host share its memory.
TEST_F(Ranks, WhatFitsOneMayNotFitTwoOfOneHost) {
  const std::vector<std::string> kLarger = {"model.hidden_size=256", "model.intermediate_size=4096", "train.steps=2",
                                            "train.micro_batch_size=1"};
  struct Limit {
    ~Limit() { set_memory_limit({}, before); }
    int64_t before = memory_report({}).limit;
  } limit;
  expect_ended_well(train_as(1, "before", kLarger));
  const RunConfig run = load_run_config(folder_ + "/before/config.yaml", {}).config;  // knows the vocabulary
  const int64_t needed = plan_memory(run.model, training_shape(run, DeviceType::Cpu, 1)).total;
  set_memory_limit({}, needed + needed / 4);
  expect_ended_well(train_as(1, "one", kLarger));
  for (const RankEnd& end : train_as(2, "two", kLarger)) {
    EXPECT_TRUE(end.agreed);
    EXPECT_NE(end.error.find("and a rank has "), std::string::npos) << end.error;
  }
  EXPECT_FALSE(exists(folder_ + "/two"));
}

TEST_F(Ranks, ADamagedCheckpointIsSkippedByAll) {
  const std::vector<std::string> overrides = {"train.micro_batch_size=1", "train.steps=9",
                                              "optimizer.schedule.steps=12"};
  expect_ended_well(train_as(2, "run", overrides));
  const std::string file = folder_ + "/run/checkpoints/step-00000009/rank-0001-of-0002.h5";
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] ^= 1;
  publish_text(file, bytes);
  expect_ended_well(train_as(2, "run", {"train.micro_batch_size=1"}));
  expect_ended_well(train_as(2, "whole", {"train.micro_batch_size=1"}));
  EXPECT_EQ(weights("run"), weights("whole"));
}

// A bit of memory that changes by itself: on one rank, behind the update of step `after`.
class Damage {
 public:
  Damage(int64_t rank, int64_t after, bool once = true) : rank_(rank), after_(after), once_(once) {}
  TrainHooks hooks(int64_t rank) {
    if (rank != rank_) return {};
    TrainHooks hooks;
    hooks.before_update = [this](int64_t, ParameterSpace& space) { space_ = &space; };
    hooks.before_micro_batch = [this](int64_t step, int64_t part) {
      if (step != after_ || part != 0 || (once_ && done_)) return;
      done_ = true;
      const FlatRange& own = space_->owned().front();
      float& value = space_->masters().slice(own).data<float>()[own.count / 2];
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      bits ^= 1;
      std::memcpy(&value, &bits, sizeof bits);
    };
    return hooks;
  }

 private:
  int64_t rank_, after_;
  bool once_, done_ = false;
  ParameterSpace* space_ = nullptr;
};

const std::vector<std::string> kVerified = {"train.micro_batch_size=1", "train.verify_replicas_every_steps=4"};

TEST_F(Ranks, AMasterThatChangesByItselfIsFoundAndTheRunGoesOnFromBefore) {
  for (int64_t ranks : {1, 2}) {
    const auto name = [&](const char* what) { return fmt::format("{}-{}", what, ranks); };
    expect_ended_well(train_as(ranks, name("whole"), {"train.micro_batch_size=1"}));
    const int64_t victim = ranks - 1;
    Damage damage(victim, 8);
    for (const RankEnd& end : train_as(ranks, name("hit"), kVerified, [&](int64_t r) { return damage.hooks(r); })) {
      EXPECT_FALSE(end.result);
      EXPECT_EQ(end.error.find("[train.verify_replicas_every_steps] memory has changed by itself after step 8: rank " +
                               std::to_string(victim) + " ("),
                0u)
          << end.error;
      EXPECT_NE(end.error.find("): master of elements "), std::string::npos) << end.error;
    }
    // The check at step 4 was the last that all was seen to be right at.
    const std::string checkpoints = folder_ + "/" + name("hit") + "/checkpoints";
    EXPECT_EQ(list_checkpoints(checkpoints), std::vector<std::string>{"step-00000003"});
    EXPECT_TRUE(exists(checkpoints + "/step-00000006.set-aside"));
    expect_ended_well(train_as(ranks, name("hit"), kVerified));
    EXPECT_EQ(weights(name("hit")), weights(name("whole"))) << ranks << " ranks";
    EXPECT_EQ(losses(name("hit")), losses(name("whole"))) << ranks << " ranks";
  }
}

TEST_F(Ranks, MemoryThatChangesByItselfIsRestored) {
  expect_ended_well(train_as(2, "whole", {"train.micro_batch_size=1"}));
  std::vector<std::string> overrides = kVerified;
  overrides.push_back("train.on_damage=restore");
  Damage once(0, 8);
  expect_ended_well(train_as(2, "hit", overrides, [&](int64_t r) { return once.hooks(r); }));
  EXPECT_EQ(weights("hit"), weights("whole"));
  EXPECT_EQ(losses("hit"), losses("whole"));
  // Memory that goes on changing is not trained on for ever.
  Damage always(1, 4, false);
  for (const RankEnd& end : train_as(2, "broken", overrides, [&](int64_t r) { return always.hooks(r); }))
    EXPECT_NE(end.error.find("memory has changed by itself after step 4"), std::string::npos) << end.error;
}

TEST_F(Ranks, AWeightThatOneRankHasOtherwiseIsFound) {
  std::vector<std::string> overrides = kVerified;
  overrides.insert(overrides.end(), {"train.sharding=none", "train.global_batch_size=3"});
  Damage damage(2, 6);
  for (const RankEnd& end : train_as(3, "three", overrides, [&](int64_t r) { return damage.hooks(r); })) {
    EXPECT_NE(end.error.find("memory has changed by itself after step 8: the weights of rank 2 ("), std::string::npos)
        << end.error;
    EXPECT_NE(end.error.find(") are not those of the others: elements "), std::string::npos) << end.error;
  }
}

// The launcher itself: what it does to processes, and that MPI carries the same.
class Mpirun : public Ranks {
 protected:
  void SetUp() override {
    Ranks::SetUp();
    if (!has_mpi() || std::system("command -v mpirun >/dev/null") != 0) GTEST_SKIP() << "there is no mpirun here";
    if (kAddressSanitizer) GTEST_SKIP() << "MPI's library leaks";
  }
  int mpirun(int64_t ranks, const std::string& run, const std::string& rest = "", const std::string& env = "") {
    return shell(fmt::format(
        "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 {} mpirun --oversubscribe -n {} {} train "
        "{}/run.yaml --device {} --run-dir {} --set train.micro_batch_size=1 {}",
        env, ranks, kGta, folder_, device_, folder_ + "/" + run, rest));
  }
  int shell(const std::string& command) {
    const int status = std::system((command + " >>" + folder_ + "/out.txt 2>>" + folder_ + "/err.txt").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string device_ = "cpu";
};

TEST_F(Mpirun, ProcessesTrainToTheBitsOfThreads) {
  ASSERT_EQ(mpirun(2, "processes"), 0) << errors();
  expect_ended_well(train_as(2, "threads", {"train.micro_batch_size=1"}));
  EXPECT_EQ(weights("processes"), weights("threads"));
  EXPECT_EQ(losses("processes"), losses("threads"));
  EXPECT_NE(errors().find("ranks    2 on 1 host"), std::string::npos) << errors();
  ASSERT_EQ(mpirun(4, "processes", "--set train.steps=14"), 0) << errors();
  EXPECT_EQ(mpirun(3, "processes", "--set train.steps=16"), 2);
  EXPECT_NE(errors().find("4 is no multiple of 3 ranks"), std::string::npos) << errors();
}

// Hosts may have copies of their own of all but the run's folder. Here the second rank sees another file under a name.
TEST_F(Mpirun, FilesThatAreOthersForARankAreNamedBeforeAnythingIsTrained) {
  if (std::system("unshare -m true 2>/dev/null") != 0) GTEST_SKIP() << "this machine makes no mounts";
  const std::string shards = folder_ + "/shards/", seen = folder_ + "/seen";
  make_directories(seen);
  const auto copy = [](const std::string& from, const std::string& to) {
    std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  };
  copy(shards + "train-00000.h5", seen + "/validation-00000.h5");
  const auto start = [&](const std::string& run, const std::string& path, const std::string& other,
                         const std::string& keys) {
    const std::string train = fmt::format(
        "{} train {}/run.yaml --device cpu --run-dir {}/{} --set train.micro_batch_size=1 --set train.steps=3 {}", kGta,
        folder_, folder_, run, keys);
    return shell(
        fmt::format("env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 1 {0} : "
                    "-n 1 unshare -m sh -c 'mount --bind {2} {1} && exec {0}'",
                    train, path, other));
  };
  EXPECT_EQ(start("validated", seen + "/validation-00000.h5", shards + "documents-00000.h5",
                  "--set data.validation=[" + seen + "/validation-00000.h5]"),
            2);
  EXPECT_NE(errors().find("rank 1 ("), std::string::npos) << errors();
  EXPECT_NE(errors().find("): 'validation data: "), std::string::npos) << errors();
  EXPECT_FALSE(exists(folder_ + "/validated"));

  ASSERT_EQ(mpirun(2, "one", "--set train.steps=2"), 0) << errors();
  ASSERT_EQ(mpirun(2, "two", "--set train.steps=2 --set seed=9"), 0) << errors();
  copy(folder_ + "/one", seen + "/init");
  for (const std::string path : {"", "/checkpoints/step-00000002"}) {
    EXPECT_EQ(start("initialised", seen + "/init", folder_ + "/two", "--set train.init_from=" + seen + "/init" + path),
              2);
    EXPECT_NE(errors().find("checkpoints/step-00000002] is another checkpoint for rank 1 ("), std::string::npos)
        << errors();
    EXPECT_FALSE(exists(folder_ + "/initialised"));
  }
}

// A launcher ends all with the first that ends, whatever the lead has left to say.
TEST_F(Mpirun, WhatIsWrongIsSaidEachTimeAndNothingOfSaving) {
  for (int i = 0; i < 10; ++i) {
    publish_text(folder_ + "/err.txt", "");
    EXPECT_EQ(mpirun(4, "refused", "--set train.global_batch_size=7"), 2);
    EXPECT_NE(errors().find("7 is no multiple of 4 ranks"), std::string::npos) << i << errors();
    EXPECT_EQ(errors().find("and saving"), std::string::npos) << errors();
  }
  EXPECT_EQ(mpirun(2, "gpus", "--set train.gpu_transport=nccl"), 2);
  EXPECT_NE(errors().find("nccl wants a GPU for each rank, and these ranks compute on CPUs"), std::string::npos)
      << errors();
}

// Before the ranks know each other, too.
TEST_F(Mpirun, WrongUsageIsSaidOnce) {
  struct Case {
    std::string run, rest, part;
  };
  for (const auto& [run, rest, part] : {Case{"refused", "--nonsense", "'--nonsense' is no option of 'gta train'"},
                                        Case{"refused", "--profile=0", "--profile: expected"},
                                        Case{"run.yaml/r", "", "/run.yaml/r] cannot make the folder"}}) {
    publish_text(folder_ + "/err.txt", "");
    EXPECT_EQ(mpirun(2, run, rest), 2) << errors();
    const size_t first = errors().find(part);
    EXPECT_NE(first, std::string::npos) << errors();
    EXPECT_EQ(errors().find(part, first + 1), std::string::npos) << errors();
  }
  EXPECT_FALSE(exists(folder_ + "/refused"));
  // What is wrong for one alone nobody else says.
  const std::string train = fmt::format("{} train {}/run.yaml --run-dir {}/run", kGta, folder_, folder_);
  EXPECT_EQ(
      shell(fmt::format("env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 1 {0} "
                        ": -n 1 {0} --only-here",
                        train)),
      2);
  EXPECT_NE(errors().find("'--only-here' is no option of 'gta train'"), std::string::npos) << errors();
}

TEST_F(Mpirun, OptionsThatOneRankAloneHasAreNamed) {
  ASSERT_EQ(mpirun(2, "run", "--set train.steps=2"), 0) << errors();
  const std::string train = fmt::format(
      "{} train {}/run.yaml --device cpu --set train.micro_batch_size=1 --run-dir {}/run", kGta, folder_, folder_);
  EXPECT_EQ(
      shell(fmt::format("env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 1 {0} "
                        "--fresh : -n 1 {0}",
                        train)),
      2);
  EXPECT_NE(errors().find("/run --fresh'"), std::string::npos) << errors();
}

TEST_F(Mpirun, OneThatDiesEndsAllAndIsNamed) {
  const std::string run = folder_ + "/dies";
  // The shell of rank 1 kills it when the first checkpoint is there.
  const std::string rank = fmt::format(
      "{0} train {1}/run.yaml --device cpu --run-dir {2} --set train.micro_batch_size=1 --set "
      "train.global_batch_size=6 --set train.steps=1000000 & "
      "p=$!; if [ $OMPI_COMM_WORLD_RANK = 1 ]; then until [ -e {2}/checkpoints/latest ]; do sleep 0.05; done; kill -9 "
      "$p; fi; wait $p",
      kGta, folder_, run);
  EXPECT_NE(shell("env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 3 sh -c '" +
                  rank + "'"),
            0);
  const size_t said = errors().find("lost rank 1 (");
  EXPECT_NE(said, std::string::npos) << errors();
  EXPECT_EQ(errors().find("lost rank 1 (", said + 1), std::string::npos) << errors();
  EXPECT_NE(read_file(run + "/log.txt").find("lost rank 1 ("), std::string::npos);
  EXPECT_NE(read_file(run + "/rank-0002.txt").find("lost rank 1 ("), std::string::npos);
  ASSERT_EQ(mpirun(2, "dies",
                   fmt::format("--set train.global_batch_size=6 --set train.steps={}",
                               Checkpoint::open(resolve_checkpoint(run)).position().step + 3)),
            0)
      << errors();
}

TEST_F(Mpirun, DevicesTriesEveryCollectiveBetweenRanks) {
  const std::string mpirun = "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe ";
  ASSERT_EQ(shell(mpirun + "-n 3 " + kGta + " devices --ranks --device cpu"), 0) << errors();
  const std::string said = read_file(folder_ + "/out.txt");
  EXPECT_NE(said.find("3 ranks by "), std::string::npos) << said;
  for (const char* kind : {"reduce-scatter", "all-reduce", "all-gather"})
    EXPECT_NE(said.find(kind), std::string::npos) << said;
  EXPECT_NE(said.find("  right\n"), std::string::npos) << said;
  EXPECT_EQ(said.find("WRONG"), std::string::npos) << said;
  EXPECT_EQ(shell(kGta + " devices --ranks"), 2);
  EXPECT_NE(errors().find("mpirun -n 2 gta devices --ranks"), std::string::npos) << errors();
  EXPECT_EQ(shell(kGta + " devices --device cpu"), 2);
}

TEST_F(Mpirun, VerifyResumeKillsAndStopsOneOfTheRanks) {
  ASSERT_EQ(shell(fmt::format(
                "{} verify-resume {}/run.yaml --ranks 2 --kills 1 --stops 2 --seed 1 --device cpu --run-dir {}/vr "
                "--set train.steps=600 --set train.micro_batch_size=1",
                kGta, folder_, folder_)),
            0)
      << errors();
  const std::string said = read_file(folder_ + "/out.txt");
  EXPECT_NE(said.find("holds: killed 1 of 1 times"), std::string::npos) << said;
  // A busy neighbour may let the training end before the second one.
  EXPECT_NE(said.find("holds: stopped "), std::string::npos) << said;
  EXPECT_EQ(said.find("stopped 0 of 2 times"), std::string::npos) << said;
  EXPECT_EQ(shell(fmt::format("{} verify-resume {}/run.yaml --ranks 3 --run-dir {}/vr", kGta, folder_, folder_)), 2)
      << "4 sequences are no multiple of 3 ranks";
}

// Where kernels are executed on the CPU each process has a device of its own, and so NCCL; a single GPU is shared, and
// its ranks speak through the host.
TEST_F(Mpirun, CudaRanksTrainAsOneDoesAndToTheSameBitsByEitherTransport) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "this build or machine has no CUDA device";
  device_ = "cuda";
  for (const char* dtype : {"float32", "bfloat16"}) {
    const std::string keys = fmt::format("--set train.dtype={} --set train.bucket_mib=1 --set train.steps=6", dtype);
    const auto name = [&](const char* what) { return fmt::format("{}-{}", what, dtype); };
    ASSERT_EQ(mpirun(1, name("alone"), keys), 0) << errors();
    ASSERT_EQ(mpirun(2, name("auto"), keys), 0) << errors();
    ASSERT_EQ(mpirun(2, name("host"), keys + " --set train.gpu_transport=host"), 0) << errors();
    EXPECT_EQ(weights(name("auto")), weights(name("host"))) << dtype;
    EXPECT_EQ(losses(name("auto")), losses(name("host"))) << dtype;
    expect_near(losses(name("auto")), losses(name("alone")), std::string(dtype) == "float32" ? 1e-5 : 5e-3, dtype);
    // Whatever carries them, the same bytes are sent, and a GPU that waits for them is seen to.
    const std::vector<StepRow> queued = steps(name("auto")), staged = steps(name("host")), alone = steps(name("alone"));
    for (size_t s = 0; s < queued.size(); ++s) {
      EXPECT_GT(queued[s].communication_bytes, 0);
      EXPECT_EQ(queued[s].communication_bytes, staged[s].communication_bytes);
      EXPECT_GT(queued[s].communication_seconds, 0);
      EXPECT_GT(staged[s].communication_seconds, 0);
      EXPECT_EQ(alone[s].communication_bytes, 0);
    }
  }
#ifdef GTA_CUDA_ON_HOST
  if (has_nccl()) {
    EXPECT_NE(errors().find("; NCCL 2."), std::string::npos) << errors();
  }
#endif
  EXPECT_NE(errors().find(" through the host; "), std::string::npos) << errors();
  // Another number of ranks, and without sharding, goes on from what they saved.
  ASSERT_EQ(mpirun(4, "auto-float32", "--set train.steps=8 --set train.sharding=none"), 0) << errors();
}

}  // namespace
}  // namespace gta
