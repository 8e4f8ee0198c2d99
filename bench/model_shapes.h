// The shapes that a model's configuration gives its ops: what rows and products of a benchmark are made from.
#pragma once

#include <string>
#include <vector>

#include "layers/attention/shared_map_attention/shared_map_attention.h"
#include "layers/transformer/model_config.h"

namespace gta {

// The core of one layer's attention.
AttentionShape core_shape(const ModelConfig& config, int64_t batch);

// One product x W^T + b of a decoder block, as it is merged; the first is of the block's own input.
struct LinearShape {
  std::string name;  // "gate+up"
  int64_t out, in;
  bool bias;
};
std::vector<LinearShape> linear_shapes(const ModelConfig& config);

inline bool has_value_decoder(const ModelConfig& config) { return config.attention.type == AttentionType::Gta; }
inline bool has_learned_decoder(const ModelConfig& config) {
  return has_value_decoder(config) && config.attention.value_decoder == ValueDecoderType::DirectLearned;
}

}  // namespace gta
