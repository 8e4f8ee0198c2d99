// A GGUF file that llama.cpp loads, from a model in memory; and its reading back.
#pragma once

#include <string>
#include <vector>

#include "checkpoints/exports/gguf.h"
#include "core/parameter_space.h"
#include "data/tokenizer.h"
#include "layers/transformer/model_config.h"

namespace gta {

struct GgufExport {
  const ModelConfig& config;
  const ParameterSpace& space;  // float32 masters, on the CPU
  const Tokenizer& tokenizer;
  GgufType type = GgufType::F32;  // of matrices; those whose rows are no whole blocks, and vectors, are float32
  std::string name;               // general.name
  GgufKeys more_keys = {};        // where it comes from
};

// Before anything is written: Error(BadInput) where llama.cpp has no counterpart of the model or its tokenizer.
void check_gguf_export(const GgufExport& what);
// Writes and syncs the file. Error(BadInput) where a weight does not fit the type.
void write_gguf_model(const std::string& path, const GgufExport& what);
// The first key or tensor of the file that is not what the model gives, rounded; "": it is all there, and nothing
// else.
std::string first_difference(const GgufFile& file, const GgufExport& what);
// What is not as one would expect, for people.
std::vector<std::string> gguf_notes(const ModelConfig& config);

}  // namespace gta
