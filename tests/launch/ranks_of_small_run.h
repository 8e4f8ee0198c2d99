// Ranks as threads of this process that train a small run together.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/comm/thread_transport.h"
#include "core/error.h"
#include "launch/as_rank.h"
#include "launch/metrics.h"
#include "tests/launch/small_run.h"

namespace gta {

struct RankEnd {
  std::optional<TrainResult> result;
  std::string error;
  bool agreed = false;
};

class RanksOfSmallRun : public SmallRun {
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

  std::vector<StepRow> steps(const std::string& run) {
    std::vector<StepRow> found;
    for (const MetricsRow& row : read_metrics(folder_ + "/" + run + "/metrics.jsonl"))
      if (const auto* step = std::get_if<StepRow>(&row)) found.push_back(*step);
    return found;
  }
  std::vector<double> losses(const std::string& run) {
    std::vector<double> found;
    for (const StepRow& step : steps(run)) found.push_back(step.loss);
    return found;
  }
};

inline void expect_ended_well(const std::vector<RankEnd>& ends) {
  for (const RankEnd& end : ends) EXPECT_TRUE(end.result) << end.error;
}

}  // namespace gta
