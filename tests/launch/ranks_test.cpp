// Ranks as threads of this process train together as one does.
#include <thread>

#include "core/comm/thread_transport.h"
#include "core/error.h"
#include "launch/metrics.h"
#include "launch/ranks.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

const char* const kTypes[] = {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"};

struct RankEnd {
  std::optional<TrainResult> result;
  std::string error;
  bool agreed = false;
};

class Ranks : public SmallRun {
 protected:
  using HooksOf = std::function<TrainHooks(int64_t rank)>;

  std::vector<RankEnd> train_as(int64_t ranks, const std::string& run, const std::vector<std::string>& overrides,
                                const HooksOf& hooks = {}) {
    Meeting meeting(ranks);
    std::vector<RankEnd> ends(static_cast<size_t>(ranks));
    std::vector<std::thread> threads;
    for (int64_t rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        RankEnd& end = ends[static_cast<size_t>(rank)];
        try {
          Communicator communicator(meeting.join(rank));
          LoadedRun loaded;
          communicator.together("configuration", [&] {
            loaded = load_run_config(folder_ + "/run.yaml", overrides, DataFiles::Expand, ranks);
          });
          Watchdog watchdog(communicator, {.end = [](int) {}});
          TrainOptions options;
          options.run_dir = folder_ + "/" + run;
          options.own_logs = false;
          options.device = "cpu";
          watched(watchdog, [&] {
            end.result = train(loaded, options, {communicator, watchdog}, hooks ? hooks(rank) : TrainHooks{});
          });
          communicator.finish();
        } catch (const Error& error) {
          end.error = error.what();
          end.agreed = error.agreed();
          if (!end.agreed) meeting.leave(rank);
        }
      });
    for (std::thread& thread : threads) thread.join();
    return ends;
  }

  std::vector<double> losses(const std::string& run) {
    std::vector<double> found;
    for (const MetricsRow& row : read_metrics(folder_ + "/" + run + "/metrics.jsonl"))
      if (const auto* step = std::get_if<StepRow>(&row)) found.push_back(step->loss);
    return found;
  }
};

void expect_ended_well(const std::vector<RankEnd>& ends) {
  for (const RankEnd& end : ends) EXPECT_TRUE(end.result) << end.error;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double bound, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], bound) << what << ", step " << i + 1;
}

TEST_F(Ranks, AnyNumberOfThemTrainsAsOneDoes) {
  for (const char* type : kTypes)
    for (const char* tied : {"true", "false"}) {
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

}  // namespace
}  // namespace gta
