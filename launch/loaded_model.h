// A model as a checkpoint holds it, ready to be evaluated or to generate.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/tokenizer.h"
#include "launch/config/config.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

struct LoadedModel {
  std::string checkpoint;  // its folder
  RunConfig config;
  Tokenizer tokenizer;
  std::unique_ptr<ParameterSpace> space;
  std::unique_ptr<CausalLm> model;
};

// RUN (its newest good checkpoint) or CHECKPOINT. Every byte used is verified against its hash. Overrides are
// `key.path=value` for keys that leave the parameters as they are: a larger rope_theta and max_sequence_length for
// longer contexts, another dtype of compute.
LoadedModel load_model(const std::string& run_or_checkpoint, const std::string& device,
                       const std::vector<std::string>& overrides = {});
// "dtype": as they are. "int8": matrices are rounded to bytes, by rows, which products read from then on;
// Error(BadInput) on another device than the CPU, and in float64.
void use_weights(LoadedModel& model, const std::string& weights);
// Error(BadInput) when `key`, which load_model() takes, is among them: what it would change is not used; `why` says so.
void refuse_override(const std::vector<std::string>& overrides, const std::string& key, const std::string& why);
std::string loaded_model_keys();  // those keys, for a line of help

}  // namespace gta
