// A folder that transformers loads, from a model in memory; and its reading back.
//
//   FOLDER/  config.json  generation_config.json  model.safetensors (or model-00001-of-0000N.safetensors and an index)
//            tokenizer.model  tokenizer.json  tokenizer_config.json  README.md
//            configuration_gta.py  modeling_gta.py      where transformers has no class for it
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoints/exports/number_format.h"
#include "core/parameter_space.h"
#include "data/tokenizer.h"
#include "layers/transformer/model_config.h"

namespace gta {

struct HfExport {
  const ModelConfig& config;
  const ParameterSpace& space;  // float32 masters, on the CPU
  const Tokenizer& tokenizer;
  NumberFormat format = NumberFormat::F32;
  int64_t most_file_bytes = int64_t{5} << 30;  // of weights; a tensor is not cut
};

// Writes into a folder that is there, every file synced. card: README.md. What is not as one would expect, for people.
// Error(BadInput) where a weight does not fit the format.
std::vector<std::string> write_hf_folder(const std::string& folder, const HfExport& what, const std::string& card);

// The weights of such a folder, into the masters of a space that declares them; errors as HfWeights (hf_weights.h).
void load_hf_weights(const std::string& folder, const ModelConfig& config, ParameterSpace& space);

}  // namespace gta
