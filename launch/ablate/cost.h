// What a variant costs, in the terms in which variants are made equal before they are compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/config/run_config.h"

namespace gta {

enum class Budget : uint8_t { None, Parameters, Flops, AttentionFlops, CacheBytes };
const char* name_of(Budget budget);            // "none", "parameters", "flops", "attention_flops", "cache_bytes"
Budget budget_named(const std::string& name);  // Error(BadInput) where there is none
std::vector<std::string> budget_names();

struct Cost {
  int64_t parameters = 0, parameters_non_embedding = 0;
  double flops_per_token_training = 0;  // plan_model()'s, at the training's sequence length
  // Of a forward pass: scores and weighted values of the causal half of all maps, and GTA's value decoder.
  double attention_flops_per_token = 0;
  int64_t cache_bytes_per_token = 0;  // of all layers, in the dtype that is trained in
  int64_t steps = 0, tokens = 0;      // of the run; 0 where it has no length
  // Of the whole training where the run has a length, else of a token.
  double training_flops() const { return flops_per_token_training * static_cast<double>(tokens > 0 ? tokens : 1); }
  double of(Budget budget) const;  // which is not None
};

// Of a run whose vocabulary and lengths are resolved.
Cost cost_of(const RunConfig& run);

}  // namespace gta
