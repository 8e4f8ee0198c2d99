// A sentencepiece model as the tokenizer.json that Hugging Face's fast tokenizers read, without sentencepiece.
#pragma once

#include <string>

#include "data/tokenizer.h"

namespace gta {

// "" where tokenizer.json can give the same tokens; otherwise why it cannot: then the model's own file is all there is.
std::string why_no_tokenizer_json(const Tokenizer& tokenizer);
std::string tokenizer_json(const Tokenizer& tokenizer);
std::string tokenizer_config_json(const Tokenizer& tokenizer, int64_t longest);

}  // namespace gta
