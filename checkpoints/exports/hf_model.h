// What a model is to Hugging Face's transformers: the class that computes the same, its config.json, and from which
// parameter each of its tensors comes.
//
//   LlamaForCausalLM       mha, mqa, gqa. With attention_bias it has one behind o_proj too: zeros, ours has none. Qwen2
//                          has biases where ours are, but transformers 5 gives it Qwen's own tokenizer, whatever
//                          the folder holds
//   DeepseekV2ForCausalLM  mla; it pairs columns (2j, 2j + 1) in RoPE where ours are (j, j + d/2): rows change places
//   GtaForCausalLM         gva, gha, gta: code that travels with the weights (remote_code/)
//
// Two more are read, and never written (hf_config_reader.h):
//
//   Qwen2ForCausalLM       as Llama with biases, but none behind o_proj
//   GTAForCausalLM         gta as its authors published it, model_type "llama"; the tensors are those of GtaForCausalLM
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints/exports/number_format.h"
#include "core/parameter_space.h"
#include "layers/transformer/model_config.h"

namespace gta {

enum class HfClass : uint8_t { Llama, DeepseekV2, Gta, Qwen2, PublishedGta };
HfClass hf_class_of(const ModelConfig& config);  // that is written
const char* name_of(HfClass type);               // "LlamaForCausalLM"

struct HfTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string parameter;      // ours; "": zeros
  std::vector<int64_t> rows;  // row r is our row rows[r]; empty: all where they are
};
// In the order of the parameters. The same memory, but for rows: v_b_proj has another shape there, not another order.
std::vector<HfTensor> hf_tensors(const ModelConfig& config, HfClass type);
inline std::vector<HfTensor> hf_tensors(const ModelConfig& config) { return hf_tensors(config, hf_class_of(config)); }

// Special tokens, -1 without one.
struct HfTokens {
  int64_t bos = -1, eos = -1, padding = -1;
};
std::string hf_config_json(const ModelConfig& config, NumberFormat format, const HfTokens& tokens);
std::string hf_generation_config_json(const HfTokens& tokens);
// What does not compute quite the same there; said to the user, and in the model's card.
std::vector<std::string> hf_notes(const ModelConfig& config);

// A parameter's values as the tensor has them, and back.
std::vector<float> to_hf(const HfTensor& tensor, const std::vector<float>& values);
std::vector<float> from_hf(const HfTensor& tensor, const std::vector<float>& values);

}  // namespace gta
