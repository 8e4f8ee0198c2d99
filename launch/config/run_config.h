// A whole run: what a configuration file says after every default is filled in.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "core/comm/gpu_transport.h"
#include "core/parameter_space.h"
#include "core/tape.h"
#include "data/data_config.h"
#include "layers/transformer/model_config.h"
#include "optim/optimizer_config.h"

namespace gta {

struct CheckpointPolicy {
  int64_t every_steps = 1000;    // 0: only at the end and when interrupted
  int64_t keep = 2;              // newest ones that stay
  int64_t keep_every_steps = 0;  // those at multiples of this stay for good; 0: none
  bool asynchronous = true;
};

inline constexpr int64_t kAutoMicroBatch = -1, kAutoBucket = -1;
inline constexpr int64_t kLargestBucketMib = 1 << 16;

// Where memory turns out to have changed by itself.
enum class OnDamage : uint8_t { Stop, Restore };
inline const char* name_of(OnDamage choice) { return choice == OnDamage::Stop ? "stop" : "restore"; }

struct TrainConfig {
  int64_t steps = 0;
  // instead of steps; resolved: steps = ceil(tokens / (global_batch_size * sequence_length))
  int64_t tokens = 0;
  int64_t global_batch_size = 0;  // sequences
  int64_t micro_batch_size = 0;   // sequences; kAutoMicroBatch: the largest that fits (launch/plan.h resolves it)
  DType dtype = DType::F32;
  // Of several ranks:
  Sharding sharding = Sharding::Optimizer;
  int64_t bucket_mib = kAutoBucket;  // of float32 gradient; see bucket_mib_of()
  GpuTransport gpu_transport = GpuTransport::Auto;
  int64_t verify_replicas_every_steps = 1000;  // 0: never
  OnDamage on_damage = OnDamage::Stop;
  int64_t hang_timeout_seconds = 300;  // 0: never
  std::string watchdog_interface = "all";
  bool deterministic = true;
  Recompute recompute = Recompute::None;
  int64_t evaluate_every_steps = 0;  // 0: only at the end
  int64_t sample_every_steps = 0;    // 0: only at the end
  CheckpointPolicy checkpoint;
  int64_t log_every_steps = 10;
  int64_t diagnose_every_steps = 0;  // 0: never
  double z_loss = 0;
  int64_t validation_tokens = 100000;
  std::vector<std::string> sample_prompts;
  int64_t sample_tokens = 64;
  int64_t max_skipped_steps = 10;
  std::string init_from;  // empty: random weights
};

// Automatic: a MiB for each rank, and a power of two. Of smaller parts than that messages are most of what a network
// does (docs/scaling.md), and a checkpoint has more ranges than its manifest can hold.
inline int64_t bucket_mib_of(const TrainConfig& train, int64_t ranks) {
  constexpr int64_t kLeast = 32;
  if (train.bucket_mib != kAutoBucket) return train.bucket_mib;
  return std::max(kLeast, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(ranks))));
}

// Of a rank in a training of several.
inline RankShare rank_share(const TrainConfig& train, int64_t rank, int64_t ranks) {
  return {rank, ranks, train.sharding, bucket_mib_of(train, ranks) << 20};
}

struct RunConfig {
  std::string name;
  int64_t seed = 1234;
  ModelConfig model;
  DataConfig data;
  OptimizerConfig optimizer;
  TrainConfig train;
};

}  // namespace gta
