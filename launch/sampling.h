// Text from a model, token by token, with a cache of keys and values (or latents).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "launch/generation/cache_options.h"
#include "launch/generation/continuation.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

// What a model is given to continue: BOS and the prompt's pieces. Error(BadInput) when it is longer than the context.
std::vector<int32_t> prompt_tokens(const ModelConfig& config, const Tokenizer& tokenizer, const std::string& prompt);

// Appends tokens to a sequence of the cache, `chunk` of them at a time: activations are those of a chunk, however long
// the prompt is. The logits of the last one (vocab); nothing where `stop`, asked before each chunk, said so.
std::vector<float> append_tokens(const CausalLm& model, std::span<const int32_t> tokens, int64_t sequence,
                                 DecodingCache& cache, int64_t chunk, const std::function<bool()>& stop = {});
// A row of logits on the host.
std::vector<float> logits_row(const Tensor& logits, int64_t row);

// Continues the prompt, with a cache in the dtype of compute, until max_tokens, a stop string, the end-of-document
// token or the model's longest sequence; `emit` gets a piece of complete UTF-8 for each token (it may be empty), a last
// character that was not completed as U+FFFD.
void generate(const CausalLm& model, const Tokenizer& tokenizer, const std::string& prompt,
              const SamplingOptions& options, const std::function<void(const std::string&)>& emit);

struct SampleListener {
  std::function<void(int64_t sample)> begins = {};
  std::function<void(const std::string& piece)> emits = {};
  std::function<void(const Continuation& sample)> ends = {};
};

// The same `samples` times one after the other: sample i is, bit for bit, the one that options.seed + i gives alone.
// The prompt is computed once.
void generate_samples(const CausalLm& model, const Tokenizer& tokenizer, const std::string& prompt,
                      const SamplingOptions& options, int64_t samples, const CacheOptions& cached,
                      const SampleListener& listener);

}  // namespace gta
