// What a model costs, before anything is spent: parameters by part, FLOPs per token, cache per token, memory by
// purpose.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/parameter_layout.h"
#include "core/parameter_space.h"
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
  bool document_mask = false;
  RankShare share = {};  // training_shape(): rank 0's, of which none has more
};

struct MemoryPlan {  // bytes
  // Of the device's memory, at the moment when tensors take most: these add up to the peak.
  int64_t parameters = 0, gradients = 0, optimizer = 0, activations = 0, workspace = 0, data = 0;
  int64_t kept_for_reuse = 0;  // freed blocks that the allocator keeps
  int64_t peak = 0;
  // Of the CPU's memory, at most, while a checkpoint is being written: copies of masters and moments. Beside a GPU
  // `pinned` of them are in pinned memory, which stays from the first save on; the rest is staged in ordinary memory.
  int64_t checkpoint_staging = 0, pinned = 0;
  int64_t total = 0;  // of the device's memory: the peak, and on the CPU the staging
};

struct Plan {
  int64_t parameters = 0;
  int64_t parameters_non_embedding = 0;                // without the embedding and a head of its own
  int64_t multiplying = 0;                             // the weights of products, a tied head's too
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
// Cuts a layout into buckets as a training by so many ranks does.
void arrange_for(ParameterLayout& layout, const TrainConfig& train, int64_t ranks);
// What is wrong where a checkpoint by so many ranks would have more ranges than a manifest can hold, or "".
std::string too_many_ranges(const RunConfig& run, int64_t ranks);
// Where its parameters lie, which needs no memory.
ParameterLayout layout_of(const ModelConfig& config);
// What training holds: a step is played on the meta device, where tensors are only counted. Needs no GPU to count for
// one. Of what kernels take inside themselves the attention's is counted, on a CPU. Error(BadInput) when the bytes have
// no number (2^62).
MemoryPlan plan_memory(const ModelConfig& config, const TrainingShape& shape);
TrainingShape training_shape(const RunConfig& run, DeviceType device, int64_t ranks = 1);
// Products that the mode makes a second time, FLOPs per token on top of training's.
double recomputed_flops_per_token(const ModelConfig& config, int64_t sequence_length, Recompute mode);
// Every recompute mode: what it holds, and the products it makes a second time.
struct RecomputeCost {
  Recompute mode;
  int64_t peak;            // bytes, as MemoryPlan::peak
  double flops_per_token;  // on top of training's
};
std::vector<RecomputeCost> recompute_costs(const ModelConfig& config, const TrainingShape& shape);
// The largest divisor of a rank's part of the global batch whose step fits into `bytes`. Error when one sequence does
// not.
int64_t fitting_micro_batch(const RunConfig& run, DeviceType device, int64_t bytes, int64_t ranks = 1);
// Bytes of a device's memory, less a tenth for all that no tensor holds: the runtime, what kernels take in themselves.
int64_t memory_for_training(int64_t bytes_of_device);
// The largest micro-batch that fits into `bytes`; 0 when not even one sequence does.
int64_t largest_micro_batch(const ModelConfig& config, const TrainingShape& shape, int64_t bytes);

inline constexpr std::array<Recompute, 3> kRecomputeModes = {Recompute::None, Recompute::Elementwise, Recompute::Block};
// MemoryPlan::total of each micro-batch and recompute mode.
struct FitRow {
  int64_t micro_batch;
  std::array<int64_t, 3> total;  // by kRecomputeModes
};
struct FitTable {
  std::vector<FitRow> rows;          // by rising micro-batch, those that fit in some mode
  std::array<int64_t, 3> largest{};  // micro-batch that fits, by kRecomputeModes; 0: not even one sequence
};
// What fits into `bytes`, of the divisors of a rank's part of the global batch, or with a `batch` of 0 of the powers of
// two; of many sizes a choice, and the largest of each mode. The shape's own micro-batch and recompute count for
// nothing.
FitTable fit_table(const ModelConfig& config, const TrainingShape& shape, int64_t batch, int64_t bytes);
// What of a run does not fit into a device of `bytes`, and what would; "" where all of it fits, also where less is left
// than memory_for_training() leaves.
enum class Misfit : uint8_t { Refuse, Try };
std::string misfit(const RunConfig& run, DeviceType device, int64_t bytes, int64_t ranks = 1);

}  // namespace gta
