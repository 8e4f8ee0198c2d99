// Text from a model, token by token, with a cache of keys and values (or latents).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

struct SamplingOptions {
  int64_t max_tokens = 64;
  double temperature = 0.8;  // 0: always the most probable token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;        // the smallest set of tokens with this much probability
  uint64_t seed = 1234;
};

// The token that `random` in [0, 1) picks from logits (vocab): scaled by the temperature, cut to top_k, then to top_p.
// Error(Failed) for logits that are not finite; -inf is a token that is never picked.
int32_t pick_token(std::vector<float> logits, const SamplingOptions& options, double random);

// What a model is given to continue: BOS and the prompt's pieces. Error(BadInput) when it is longer than the context.
std::vector<int32_t> prompt_tokens(const ModelConfig& config, const Tokenizer& tokenizer, const std::string& prompt);

// Continues the prompt until max_tokens, the end-of-document token or the model's longest sequence; `emit` gets pieces
// of complete UTF-8, a last character that was not completed as U+FFFD.
void generate(const CausalLm& model, const Tokenizer& tokenizer, const std::string& prompt,
              const SamplingOptions& options, const std::function<void(const std::string&)>& emit);

}  // namespace gta
