#include "launch/generation/continuation.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "core/error.h"

namespace gta {

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::Stop:
      return "stop";
    case FinishReason::Length:
      return "length";
    case FinishReason::End:
      return "end";
    case FinishReason::None:
      break;
  }
  internal_error("generate", "a text that has not ended has no reason to");
}

Continuation::Continuation(const Tokenizer& tokenizer, std::vector<int32_t> prompt, const SamplingOptions& options,
                           int64_t longest)
    : tokenizer_(tokenizer),
      options_(options),
      random_(options.seed, "generate"),
      decoder_(tokenizer),
      stops_(options.stop),
      tokens_(std::move(prompt)),
      prompted_(static_cast<int64_t>(tokens_.size())),
      longest_(longest) {
  ensure(prompted_ > 0 && prompted_ <= longest && options.max_tokens > 0, "generate",
         "cannot continue {} tokens of {} by {}", prompted_, longest, options.max_tokens);
  // so that the first new piece keeps its space
  for (const int32_t id : std::span(tokens_).subspan(tokenizer.bos() >= 0 ? 1 : 0)) decoder_.push(id);
}

std::string Continuation::pick(std::vector<float> logits) {
  ensure(!finished(), "generate", "the text has ended");
  const std::vector<float> given =
      options_.log_probabilities == LogProbabilities::OfPicked ? logits : std::vector<float>();
  // The model's vocabulary may be padded beyond the tokenizer's.
  for (size_t id = static_cast<size_t>(tokenizer_.vocab_size()); id < logits.size(); ++id)
    logits[id] = -std::numeric_limits<float>::infinity();
  const int64_t before = static_cast<int64_t>(tokens_.size()) - prompted_;
  const int32_t token =
      pick_token(std::move(logits), options_, random_.uniform(static_cast<uint64_t>(before)), tokens_);
  tokens_.push_back(token);
  if (!given.empty()) log_probabilities_.push_back(log_probability(given, token));
  if (token == tokenizer_.eos())
    reason_ = FinishReason::End;
  else if (before + 1 == options_.max_tokens || static_cast<int64_t>(tokens_.size()) > longest_)
    reason_ = FinishReason::Length;
  std::string piece = reason_ == FinishReason::End ? "" : decoder_.push(token);
  // The bytes of a character that no further token completes are text too.
  if (finished()) piece += decoder_.finish();
  std::string shown = stops_.push(piece);
  if (stops_.found()) reason_ = FinishReason::Stop;
  if (finished()) shown += stops_.finish();
  text_ += shown;
  return shown;
}

}  // namespace gta
