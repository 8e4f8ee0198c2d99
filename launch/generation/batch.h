// Continuous batching: many prompts are answered at once, over one cache with a slot for each of those under way. A
// prompt joins when a slot is free and leaves when its answer has ended, at any step; the others do not wait for it.
//
// A step computes cache.prefill_chunk tokens of prompts at most, a chunk of one prompt at a time, and then one more
// token of every answer under way in one pass. Prompts are cut where the same prompt alone is cut, and are computed one
// by one: what an answer begins with are the same bits as alone. Passes of several answers round products otherwise
// than those of one (docs/inference.md says what holds).
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "launch/generation/cache_options.h"
#include "launch/generation/requests.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

struct BatchOptions {
  int64_t batch_size = 8;  // answers under way at most
  CacheOptions cache;
};

struct BatchReport {
  int64_t prompts = 0, prompt_tokens = 0, generated_tokens = 0;
  int64_t most_at_once = 0, cache_bytes = 0;
  double prompt_seconds = 0, generation_seconds = 0;
};

// done(i, answer) when request i has been answered, in the order in which they end. What a step allocates it frees.
// Error(BadInput) where the cache would have too many rows.
BatchReport generate_batch(const CausalLm& model, const Tokenizer& tokenizer,
                           std::span<const GenerationRequest> requests, const BatchOptions& options,
                           const std::function<void(size_t index, const Continuation& answer)>& done);

}  // namespace gta
