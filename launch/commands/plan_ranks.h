// What `gta plan --gpus N` adds: the step of N ranks.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launch/commands/commands.h"
#include "launch/config/gpus.h"
#include "launch/scaling.h"

namespace gta {

struct RanksPlan {
  RankWork work;
  Network network;
  std::string source_of_node;  // where the rate within a node is from
  ScaledStep step;
  double efficiency = 1;
  BucketSize best;
  // The run's, for what is said of them.
  bool on_gpus = true;
  DType dtype = DType::F32;
  int64_t bucket_mib = 0, micro_batch = 0, batch = 0, tokens = 0;  // tokens: of a step
  int64_t checkpoint_every = 0;                                    // steps
  int64_t state_bytes = 0;                                         // of a checkpoint: masters and moments
  double storage = 0;                                              // bytes/s of all ranks; 0: not known

  double seconds_of(const RunBudget& budget, const RunSpeed& speed) const {
    return run_seconds(budget, speed, step, network.ranks);
  }
  int64_t state_bytes_of_rank() const { return state_bytes / network.ranks; }
  double tokens_per_second() const { return static_cast<double>(tokens) / step.seconds(); }
};

// speed: of one rank alone. Error(BadInput) where a rate is missing.
RanksPlan plan_ranks(const PlanCommand& command, const RunConfig& run, const std::optional<Gpu>& gpu, DeviceType device,
                     const RunSpeed& speed);
nlohmann::ordered_json json_of(const RanksPlan& plan);
void print_ranks(const RanksPlan& plan);
inline const char* ranks_name(bool on_gpus) { return on_gpus ? "GPUs" : "ranks"; }

}  // namespace gta
