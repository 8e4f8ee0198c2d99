// What a model is to llama.cpp: the architecture that computes the same, its keys, and its tensors made of ours.
//
//   llama       mha, mqa, gqa, gva, gha without biases; it pairs columns (2j, 2j + 1) in RoPE
//   qwen2       the same with biases on q, k, v; RoPE as here
//   deepseek2   mla, absorbed; of 26 or 27 blocks, since llama.cpp takes no others for a model without query LoRA
//   qwen35      gta with a sigmoid gate (gguf_gated_attention.h), and one block of no effect at the end
//
// llama.cpp knows no map that several heads share: of gva, gha and gta every head gets a copy of its map's query and
// key, so the logits are the same and the cache is as large as MHA's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoints/exports/gguf.h"
#include "checkpoints/exports/masters.h"
#include "layers/transformer/model_config.h"

namespace gta {

enum class GgufArchitecture : uint8_t { Llama, Qwen2, Deepseek2, Qwen35 };
// Error(BadInput) says what of the model has no counterpart there, and what to do instead.
GgufArchitecture gguf_architecture_of(const ModelConfig& config);
const char* name_of(GgufArchitecture architecture);  // "llama"

struct GgufSource {
  std::string name;
  std::vector<int64_t> shape;
  enum class Kind : uint8_t { Matrix, Vector } kind;  // vectors, and what has to be exact, are float32 in any file
  std::function<std::vector<float>(const Masters&)> values;
};
std::vector<GgufSource> gguf_tensors(const ModelConfig& config);

// general.* but for the file's type, and ARCHITECTURE.*.
GgufKeys gguf_model_keys(const ModelConfig& config, const std::string& name);
// Numbers that llama.cpp's cache keeps for a token and layer.
int64_t gguf_cache_numbers(const ModelConfig& config);

}  // namespace gta
