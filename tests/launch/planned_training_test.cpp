// `train` refuses what it plans not to fit into the device's memory.
#include <gtest/gtest.h>

#include "core/allocator.h"
#include "launch/plan.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

// The limit of the process's memory, for as long as a test needs another one.
class MemoryLimit {
 public:
  explicit MemoryLimit(int64_t bytes) : before_(memory_report(Device{}).limit) { set_memory_limit(Device{}, bytes); }
  ~MemoryLimit() { set_memory_limit(Device{}, before_); }

 private:
  int64_t before_;
};

class PlannedTraining : public SmallRun {
 protected:
  // The bytes that a run is planned to take of the CPU's memory, in all.
  int64_t planned(const LoadedRun& run) {
    RunConfig config = run.config;
    config.model.vocab_size = 320;
    return plan_memory(config.model, training_shape(config, DeviceType::Cpu)).total;
  }
  // More than measuring the machine takes.
  LoadedRun load_large(std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), {"train.global_batch_size=512", "train.steps=1", "model.hidden_size=256",
                                       "optimizer.schedule.warmup_steps=0"});
    return load(overrides);
  }
  WatchedRun on_cpu(const std::string& run) {
    WatchedRun o = options(run);
    o.device = "cpu";
    return o;
  }
  std::string refusal(const LoadedRun& run, const WatchedRun& o) {
    try {
      train(run, o);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "nothing was refused";
    return "";
  }
};

TEST_F(PlannedTraining, ThatDoesNotFitIsRefusedBeforeAnythingIsWritten) {
  const LoadedRun run = load_large({"train.micro_batch_size=512"}), smaller = load_large({"train.micro_batch_size=64"});
  const MemoryLimit limit(planned(smaller) * 10 / 9 + 100);
  const std::string said = refusal(run, on_cpu("refused"));
  for (const char* part :
       {"micro-batches of 512 x 16 tokens in float32 with train.recompute none are planned to take",
        "train.micro_batch_size would fit up to 64 with train.recompute none, ", "--force starts all the same"})
    EXPECT_NE(said.find(part), std::string::npos) << said;
  EXPECT_FALSE(exists(folder_ + "/refused"));
  // What the message names starts.
  EXPECT_EQ(train(smaller, on_cpu("smaller")).outcome, TrainOutcome::Finished);
}

TEST_F(PlannedTraining, ThatDoesNotFitAnyMoreSaysSoInItsLog) {
  LoadedRun run = load_large({"train.micro_batch_size=64"});
  ASSERT_EQ(train(run, on_cpu("run")).outcome, TrainOutcome::Finished);
  run.config.train.steps = 2;
  const std::string config = read_file(folder_ + "/run/config.yaml");
  {
    const MemoryLimit limit(planned(run) - 1);
    const std::string said = refusal(run, on_cpu("run"));
    const std::string log = read_file(folder_ + "/run/log.txt");
    EXPECT_NE(log.find("gta: error: " + said), std::string::npos) << log;
    EXPECT_EQ(read_file(folder_ + "/run/config.yaml"), config);
  }
  EXPECT_EQ(train(run, on_cpu("run")).step, 2);
}

// The plan is an upper bound here: it has room for a checkpoint's copies, which a short run may not need.
TEST_F(PlannedTraining, StartsByForceAndSaysSoInItsLog) {
  const LoadedRun run = load_large({"train.micro_batch_size=64"});
  WatchedRun o = on_cpu("forced");
  o.misfit = Misfit::Try;
  const MemoryLimit limit(planned(run) - 1);
  EXPECT_EQ(train(run, o).outcome, TrainOutcome::Finished);
  const std::string log = read_file(folder_ + "/forced/log.txt");
  EXPECT_NE(log.find("note     --force: micro-batches of 64 x 16 tokens"), std::string::npos) << log;
}

TEST_F(PlannedTraining, IsRefusedByTheProgramWithTwo) {
  const std::string huge =
      "train " + folder_ + "/run.yaml --device cpu --run-dir " + folder_ +
      "/huge --set train.global_batch_size=16777216 --set train.micro_batch_size=1048576 --set model.layers=400";
  EXPECT_EQ(gta(huge), 2) << errors();
  EXPECT_NE(errors().find("gta: error: [memory] micro-batches of 1048576 x 16 tokens"), std::string::npos) << errors();
  EXPECT_FALSE(exists(folder_ + "/huge"));
}

}  // namespace
}  // namespace gta
