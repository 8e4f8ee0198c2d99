// What a model costs, before anything is spent: parameters by part, FLOPs per token, cache per token, memory by
// purpose.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/tape.h"
#include "launch/config/run_config.h"
#include "layers/transformer/model_config.h"

namespace gta {

// What a training run is made of, as far as memory goes.
struct TrainingShape {
  int64_t sequence_length = 0, micro_batch = 1;
  DType dtype = DType::F32;
  Recompute recompute = Recompute::None;
  bool asynchronous_checkpoints = true;
  DeviceType device = DeviceType::Cpu;  // whose memory: how it keeps freed blocks, and how many logits exist at once
};

struct MemoryPlan {                                                                      // bytes
  int64_t parameters = 0, gradients = 0, optimizer = 0, activations = 0, workspace = 0;  // the most of each at any time
  int64_t peak = 0;  // the most of all together, blocks kept for reuse included
  // of the CPU's memory, at most, while a checkpoint is being written; beside a GPU, from the first on
  int64_t checkpoint_staging = 0;
  int64_t total = 0;  // of the device's memory: the peak, and on the CPU the staging
};

struct Plan {
  int64_t parameters = 0;
  std::vector<std::pair<std::string, int64_t>> parts;  // embedding, attention, mlp, norms, head
  double flops_per_token_forward = 0;                  // 2 x parameters that multiply + causal half of the maps
  double flops_per_token_training = 0;                 // 3 x forward
  int64_t sequence_length = 0;
  int64_t cache_numbers_per_token_and_layer = 0;
  int64_t map_multiply_adds = 0;  // per pair and layer
  // per query, cached token and layer; MLA decodes another way than it trains
  int64_t map_multiply_adds_decoding = 0;
};

Plan plan_model(const ModelConfig& config, int64_t sequence_length);
// What training holds: a step is played on the meta device, where tensors are only counted. Needs no GPU to count for
// one. Of what kernels take inside themselves the attention's is counted, on a CPU. Error(BadInput) when the bytes have
// no number (2^62).
MemoryPlan plan_memory(const ModelConfig& config, const TrainingShape& shape);
TrainingShape training_shape(const RunConfig& run, DeviceType device);
// Every recompute mode: what it holds, and the products it makes a second time.
struct RecomputeCost {
  Recompute mode;
  int64_t peak;            // bytes, as MemoryPlan::peak
  double flops_per_token;  // on top of training's
};
std::vector<RecomputeCost> recompute_costs(const ModelConfig& config, const TrainingShape& shape);
// The largest divisor of the global batch whose step fits into `bytes`. Error when one sequence does not.
int64_t fitting_micro_batch(const RunConfig& run, DeviceType device, int64_t bytes);
int64_t memory_for_training(const Device& device);  // bytes: the device's, less a tenth for all that no tensor holds
// The largest micro-batch that fits into `bytes`; 0 when not even one sequence does.
int64_t largest_micro_batch(const ModelConfig& config, const TrainingShape& shape, int64_t bytes);

}  // namespace gta
