// A conversation (conversation.h) on a terminal, or with whatever writes lines to stdin.
#pragma once

#include "launch/generation/cache_options.h"
#include "launch/generation/continuation.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

// Until stdin ends. Answers go to stdout, each with a line end; marks and remarks to stderr. On a terminal Ctrl-C stops
// an answer, or drops what was typed, and never ends the program.
void converse(const CausalLm& model, const Tokenizer& tokenizer, const SamplingOptions& options,
              const CacheOptions& cached);

}  // namespace gta
