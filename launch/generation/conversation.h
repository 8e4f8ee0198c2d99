// A text that a person and a model write in turn: lines of the one, continuations of the other. What was computed of it
// stays in the cache; a turn computes what is new alone.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/generation/cache_options.h"
#include "launch/generation/continuation.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

class Conversation {
 public:
  // max_tokens is of each answer; answer i (from 0) has the seed options.seed + i.
  Conversation(const CausalLm& model, const Tokenizer& tokenizer, const SamplingOptions& options,
               const CacheOptions& cached);

  enum class Outcome : uint8_t {
    Ended,    // at max_tokens, a stop string, the end of a document
    Stopped,  // where `stop` said so
    Full,     // the model's context is: the next line begins a new text
  };
  struct Turn {
    Outcome outcome;
    bool began_anew;  // the line did not fit behind what was there: it alone is the text now
  };
  // A line, without its end, and the answer, which `emit` gets in pieces; `stop` is asked before each token, and
  // between chunks of a long line. A line end is put between an earlier answer and the line. Error(BadInput) for a line
  // that is no UTF-8, or does not fit into the context at all: it is not taken.
  Turn answer(const std::string& line, const std::function<void(const std::string&)>& emit,
              const std::function<bool()>& stop);

  const std::vector<int32_t>& tokens() const { return tokens_; }  // of the text, with BOS
  // Tokens that the model was given so far, of this text and earlier ones.
  int64_t computed() const { return computed_; }

 private:
  bool at_line_begin() const;
  int64_t length() const { return static_cast<int64_t>(tokens_.size()); }

  const CausalLm& model_;
  Tokenizer tokenizer_;
  SamplingOptions options_;
  int64_t prefill_chunk_;
  DecodingCache cache_;  // holds the first of tokens_
  std::vector<int32_t> tokens_;
  bool full_ = false;
  int64_t computed_ = 0;
};

}  // namespace gta
