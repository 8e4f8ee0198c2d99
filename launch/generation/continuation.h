// One text that a model continues: what was picked so far, what of it may be shown, and whether it is at its end. Where
// the logits come from, a cache of one sequence or of many, is not known here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/tokenizer.h"
#include "launch/generation/stop_strings.h"
#include "launch/generation/token_choice.h"

namespace gta {

enum class LogProbabilities : uint8_t { None, OfPicked };

struct SamplingOptions : TokenChoice {
  int64_t max_tokens = 64;
  uint64_t seed = 1234;
  std::vector<std::string> stop = {};  // none of them empty
  LogProbabilities log_probabilities = LogProbabilities::None;
};

// Stop: its text came to a stop string. Length: max_tokens, or the model's context is full. End: the model ended the
// document.
enum class FinishReason : uint8_t { None, Stop, Length, End };
const char* name_of(FinishReason reason);  // "stop", "length", "end"

class Continuation {
 public:
  // prompt: with BOS, where the tokenizer has one. longest: tokens that the model sees; the last one that is picked
  // needs no place.
  Continuation(const Tokenizer& tokenizer, std::vector<int32_t> prompt, const SamplingOptions& options,
               int64_t longest);

  // Picks the next token from the logits (vocab) of the last one, and gives what there is to show: complete UTF-8, a
  // last character that was not completed as U+FFFD.
  std::string pick(std::vector<float> logits);

  bool finished() const { return reason_ != FinishReason::None; }
  FinishReason reason() const { return reason_; }
  // The prompt and what was picked.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  int64_t prompted() const { return prompted_; }
  // What was picked: the end-of-document token too, and those of a stop string.
  std::vector<int32_t> picked() const { return {tokens_.begin() + prompted_, tokens_.end()}; }
  // Of what was picked, where they were asked for.
  const std::vector<double>& log_probabilities() const { return log_probabilities_; }
  const std::string& text() const { return text_; }  // all that was shown

 private:
  Tokenizer tokenizer_;
  SamplingOptions options_;
  RandomStream random_;
  StreamDecoder decoder_;
  StopStrings stops_;
  std::vector<int32_t> tokens_;
  int64_t prompted_, longest_;
  std::vector<double> log_probabilities_;
  std::string text_;
  FinishReason reason_ = FinishReason::None;
};

}  // namespace gta
