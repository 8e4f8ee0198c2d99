// What an engine computes from a GGUF file, in float64 and from the file alone: slow, plain, and written from
// llama.cpp's side, so that an export is seen to hold before anyone has it. Of the four architectures of gguf_model.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoints/exports/gguf.h"

namespace gta {

// Logits (tokens, vocab) of one sequence. Error(BadInput) where the file lacks what its architecture needs.
std::vector<double> gguf_logits(const GgufFile& file, std::span<const int32_t> tokens);

}  // namespace gta
