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

// RUN (its newest good checkpoint) or CHECKPOINT. Every byte used is verified against its hash.
LoadedModel load_model(const std::string& run_or_checkpoint, const std::string& device);

}  // namespace gta
