// The small model of the tests: every variant of attention from one configuration, so that the type alone changes. No
// two groups nest (2 keys, 3 latents, 4 values for 6 maps), and MLA's widths differ from each other.
#pragma once

#include "layers/transformer/model_config.h"

namespace gta::testing {

inline constexpr AttentionType kAttentionTypes[] = {AttentionType::Mha, AttentionType::Mqa, AttentionType::Gqa,
                                                    AttentionType::Mla, AttentionType::Gva, AttentionType::Gha,
                                                    AttentionType::Gta};

inline ModelConfig small_model(AttentionType type) {
  ModelConfig config;
  config.hidden_size = 24;
  config.layers = 2;
  config.intermediate_size = 40;
  config.heads = 12;
  config.head_dim = 4;
  config.vocab_size = 50;
  config.max_sequence_length = 80;
  config.initializer_range = 0.2;  // large, so that every part matters
  config.attention.type = type;
  config.attention.kv_heads = 2;
  config.attention.query_heads = 6;
  config.attention.key_heads = 2;
  config.attention.latent_heads = 3;
  config.attention.latent_dim = 4;
  config.attention.value_heads = 4;
  config.attention.kv_lora_rank = 7;
  config.attention.nope_dim = 3;
  config.attention.rope_dim = 2;
  config.attention.value_dim = 4;
  return config;
}

}  // namespace gta::testing
