// The real reader of an export, run on the reference prompt: transformers or vLLM of a folder, llama.cpp of a file.
#pragma once

#include <string>

#include "launch/commands/commands.h"
#include "launch/loaded_model.h"

namespace gta {

// Error(BadInput) where --verify-with names a reader of another format, or the Python that GTA_TRANSFORMERS_PYTHON,
// GTA_VLLM_PYTHON or GTA_LLAMA_CPP_PYTHON names, else python3, has not the packages: asked before anything is written.
void check_reader(const ExportCommand& command);
// "" where --verify-with is not given, or what it names computes the logits that the model has; else what it computes.
// Says which version it was. Error(Failed) where it ends with an error.
std::string difference_of_reader(const ExportCommand& command, const std::string& path, const LoadedModel& model,
                                 bool float32);

}  // namespace gta
