#include "launch/plan.h"

#include <algorithm>

#include "core/parameter_space.h"
#include "layers/transformer/causal_lm.h"

namespace gta {
namespace {

const char* part_of(const std::string& name) {
  if (name.find("embed_tokens") != std::string::npos) return "embedding";
  if (name.find("lm_head") != std::string::npos) return "head";
  if (name.find("norm") != std::string::npos) return "norms";
  return name.find("self_attn") != std::string::npos ? "attention" : "mlp";
}

// Only counted, never allocated.
ParameterSpace declare(const ModelConfig& config) {
  ParameterSpace space;
  ModelConfig known = config;
  known.max_sequence_length = std::max<int64_t>(known.max_sequence_length, 1);
  const CausalLm model(space, known);
  return space;
}

// Numbers that one layer keeps per token from forward to backward: the inputs and outputs that its ops save.
int64_t kept_per_token_and_layer(const ModelConfig& c) {
  const CacheWidths cache = cache_widths(c);
  const AttentionConfig& a = c.attention;
  const bool gta = a.type == AttentionType::Gta, mla = a.type == AttentionType::Mla;
  const int64_t width = c.heads * c.head_dim;
  const int64_t maps = gta || a.type == AttentionType::Gva || a.type == AttentionType::Gha ? a.query_heads : c.heads;
  const int64_t q = maps * (mla ? a.nope_dim + a.rope_dim : c.head_dim);
  const int64_t u = mla ? c.heads * a.value_dim : gta ? maps * a.latent_dim : width;
  const int64_t merged = q + cache.total() + (gta ? width : 0);
  const int64_t norms = 4 * c.hidden_size + 2;            // s and y of both, and their scales
  // MLA keeps its latent before and after the norm, and keys and values of every head.
  const int64_t attention = merged + q + u + maps + (mla ? a.kv_lora_rank + 1 + q + u : cache.keys) + (gta ? width : 0);
  const int64_t mlp = 3 * c.intermediate_size;
  return norms + attention + mlp;
}

}  // namespace

Plan plan_model(const ModelConfig& config, int64_t sequence_length) {
  Plan plan;
  const ParameterSpace space = declare(config);
  plan.parts = {{"embedding", 0}, {"attention", 0}, {"mlp", 0}, {"norms", 0}, {"head", 0}};
  int64_t multiplying = 0;
  for (const Parameter& parameter : space.parameters()) {
    const std::string part = part_of(parameter.name);
    std::find_if(plan.parts.begin(), plan.parts.end(), [&](const auto& p) { return p.first == part; })->second += parameter.elements();
    // The embedding is looked up; as a tied head it multiplies.
    if (parameter.kind == ParameterKind::Matrix && (part != "embedding" || config.tie_embeddings)) multiplying += parameter.elements();
  }
  plan.parameters = space.parameter_count();
  plan.sequence_length = sequence_length;
  plan.map_multiply_adds = map_multiply_adds(config);
  plan.map_multiply_adds_decoding = map_multiply_adds_decoding(config);
  plan.cache_numbers_per_token_and_layer = cache_widths(config).total();
  plan.flops_per_token_forward = 2.0 * static_cast<double>(multiplying) + 2.0 * static_cast<double>(config.layers * plan.map_multiply_adds) *
                                                                              (static_cast<double>(sequence_length) + 1) / 2;
  plan.flops_per_token_training = 3 * plan.flops_per_token_forward;
  return plan;
}

MemoryPlan plan_memory(const ModelConfig& config, int64_t sequence_length, int64_t micro_batch, DType dtype, bool asynchronous_checkpoints) {
  const ParameterSpace space = declare(config);
  const int64_t size = static_cast<int64_t>(size_of(dtype)), tokens = micro_batch * sequence_length;
  const int64_t flat = (space.flat_size(ParameterKind::Matrix) + space.flat_size(ParameterKind::Vector)) * size;
  MemoryPlan plan;
  plan.parameters = flat + std::max(config.max_sequence_length, sequence_length) * config.rope_dim() * size;
  plan.gradients = flat;
  plan.optimizer = 2 * flat;
  // On top of the layers: the stream before and after them, its gradient, and the gradients inside the widest part of one layer.
  const int64_t beyond = (3 * config.hidden_size + 2 * config.hidden_size + 3 * config.intermediate_size) * tokens;
  plan.activations = (config.layers * kept_per_token_and_layer(config) * tokens + beyond) * size;
  plan.workspace = std::min<int64_t>(tokens * config.vocab_size, int64_t{1} << 22) * size + tokens * config.heads * config.head_dim * size;
  plan.checkpoint_staging = asynchronous_checkpoints ? 3 * flat : 0;
  return plan;
}

int64_t largest_micro_batch(const ModelConfig& config, int64_t sequence_length, DType dtype, bool asynchronous_checkpoints, int64_t bytes) {
  int64_t fits = 0, step = 1;
  const auto holds = [&](int64_t batch) { return plan_memory(config, sequence_length, batch, dtype, asynchronous_checkpoints).total() <= bytes; };
  while (step < (int64_t{1} << 20) && holds(step)) step *= 2;
  for (step /= 2; step > 0; step /= 2)
    if (holds(fits + step)) fits += step;
  return fits;
}

}  // namespace gta
