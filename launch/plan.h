// What a model costs, before anything is spent: parameters by part, FLOPs per token, cache per token, memory by purpose.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "layers/transformer/model_config.h"

namespace gta {

struct MemoryPlan {  // bytes
  int64_t parameters = 0, gradients = 0, optimizer = 0, activations = 0, workspace = 0, checkpoint_staging = 0;
  int64_t total() const { return parameters + gradients + optimizer + activations + workspace + checkpoint_staging; }
};

struct Plan {
  int64_t parameters = 0;
  std::vector<std::pair<std::string, int64_t>> parts;  // embedding, attention, mlp, norms, head
  double flops_per_token_forward = 0;                  // 2 x parameters that multiply + causal half of the maps
  double flops_per_token_training = 0;                 // 3 x forward
  int64_t sequence_length = 0;
  int64_t cache_numbers_per_token_and_layer = 0;
  int64_t map_multiply_adds = 0;                       // per pair and layer
  int64_t map_multiply_adds_decoding = 0;              // per query, cached token and layer; MLA decodes another way than it trains
};

Plan plan_model(const ModelConfig& config, int64_t sequence_length);
// What training holds with this micro-batch, counted from what each op keeps.
MemoryPlan plan_memory(const ModelConfig& config, int64_t sequence_length, int64_t micro_batch, DType dtype, bool asynchronous_checkpoints);
// The largest micro-batch that fits into `bytes`; 0 when not even one sequence does.
int64_t largest_micro_batch(const ModelConfig& config, int64_t sequence_length, DType dtype, bool asynchronous_checkpoints, int64_t bytes);

}  // namespace gta
