// A sentencepiece model of byte pairs as the tokenizer.ggml keys of a GGUF file, of which llama.cpp makes the same
// tokens.
#pragma once

#include <string>

#include "checkpoints/exports/gguf.h"
#include "data/tokenizer.h"

namespace gta {

// "" where llama.cpp can make the same tokens; otherwise why it cannot.
std::string why_no_gguf_tokenizer(const Tokenizer& tokenizer);
// vocab_size: of the model, which may be more than the tokenizer has; the rest are pieces that no text gives.
void add_tokenizer_keys(GgufKeys& keys, const Tokenizer& tokenizer, int64_t vocab_size);

}  // namespace gta
