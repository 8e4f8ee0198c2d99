// config.json of a Hugging Face folder as a model of ours: what hf_model.h writes, read back, and what others write of
// the classes that compute what ours compute.
//
//   LlamaForCausalLM       mha, gqa, mqa; attention_bias: the bias behind o_proj has to be zeros
//   Qwen2ForCausalLM       the same with biases on q, k and v
//   DeepseekV2ForCausalLM  mla: without query LoRA, every layer dense
//   GtaForCausalLM         gva, gha, gta as exported here, model_type "gta"
//   GTAForCausalLM         gta as published, model_type "llama"
//
// What such a model may have and ours has not is refused by its key: scaled RoPE, sliding windows, other activations,
// biases elsewhere, quantisation, experts, multipliers. A key that is not there stands for what its class takes then.
#pragma once

#include <string>
#include <vector>

#include "checkpoints/exports/hf_model.h"
#include "layers/transformer/model_config.h"

namespace gta {

struct HfModel {
  ModelConfig config;
  HfClass type = HfClass::Llama;
  std::vector<std::string> notes;  // what is not as one would expect, for people
};

// FOLDER/config.json; Error(BadInput) names the key, what was expected and what is there.
HfModel read_hf_config(const std::string& folder);

}  // namespace gta
