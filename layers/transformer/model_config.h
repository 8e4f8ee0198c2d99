// What `model:` says: everything that decides which parameters a causal language model has and what it computes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layers/attention/attention_config.h"

namespace gta {

struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t layers = 0;
  int64_t intermediate_size = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;    // mla does not use it
  int64_t vocab_size = 0;  // 0: the tokenizer's, rounded up to vocab_multiple (launch/ resolves it)
  int64_t vocab_multiple = 64;
  int64_t max_sequence_length = 0;  // 0: data.sequence_length (launch/ resolves it)
  double rope_theta = 10000.0;
  double norm_eps = 1e-6;
  bool tie_embeddings = true;
  double initializer_range = 0.02;
  AttentionConfig attention;

  // Columns of a head that RoPE rotates: all of them, but for MLA.
  int64_t rope_dim() const { return attention.type == AttentionType::Mla ? attention.rope_dim : head_dim; }
};

// A constraint between keys that does not hold: `key` is the path below `model`, e.g. "attention.latent_dim".
struct ModelConfigProblem {
  std::string key;
  std::string message;
};

// Every violated constraint (divisibility, missing counts), empty when the model can be built.
std::vector<ModelConfigProblem> problems_of(const ModelConfig& config);

}  // namespace gta
