// What `gta generate --batch` is asked, one JSON object a line, and what it answers.
//
//   {"prompt": "In the beginning", "max_tokens": 20, "seed": 3, "stop": ["."], "id": "a"}
//   {"id": "a", "prompt": "In the beginning", "text": " God created", "tokens": [...], "prompt_tokens": 4,
//    "seed": 3, "finish_reason": "stop"}
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/generation/continuation.h"
#include "layers/transformer/model_config.h"

namespace gta {

struct GenerationRequest {
  std::string prompt;
  std::vector<int32_t> tokens;  // BOS and the prompt's pieces
  SamplingOptions options;
  nlohmann::ordered_json id = {};  // null: it has none
};

// Each line has `prompt`, and may have id (a string or an integer, given back), max_tokens, temperature, top_k, top_p,
// min_p, repetition_penalty, seed, stop (a string or an array of them), logprobs: what it has not is as in `otherwise`.
// Error(BadInput) with FILE:LINE for anything else, and for a prompt that is longer than the model's context.
std::vector<GenerationRequest> read_requests(const std::string& path, const SamplingOptions& otherwise,
                                             const ModelConfig& config, const Tokenizer& tokenizer);

nlohmann::ordered_json answer_json(const GenerationRequest& request, const Continuation& answer);

}  // namespace gta
