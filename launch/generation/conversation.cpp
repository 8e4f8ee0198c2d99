#include "launch/generation/conversation.h"

#include <span>
#include <utility>

#include "core/error.h"
#include "data/utf8.h"
#include "launch/sampling.h"

namespace gta {

Conversation::Conversation(const CausalLm& model, const Tokenizer& tokenizer, const SamplingOptions& options,
                           const CacheOptions& cached)
    : model_(model),
      tokenizer_(tokenizer),
      options_(options),
      prefill_chunk_(cached.prefill_chunk),
      cache_(model.make_cache(1, model.config().max_sequence_length, cached.dtype)) {}

bool Conversation::at_line_begin() const {
  return tokens_.back() == tokenizer_.bos() || tokenizer_.token_text(tokens_.back()).ends_with('\n');
}

Conversation::Turn Conversation::answer(const std::string& line, const std::function<void(const std::string&)>& emit,
                                        const std::function<bool()>& stop) {
  const int64_t longest = model_.config().max_sequence_length;
  const int64_t bad = find_bad_utf8(line);
  require(bad < 0, "generate", "the line is no UTF-8 at byte {}", bad);
  std::vector<int32_t> more;
  if (!tokens_.empty() && !full_)
    more = tokenizer_.encode_segment(at_line_begin() ? line : "\n" + line, /*first=*/false, /*last=*/true);
  const bool had_text = !tokens_.empty();
  const bool fits = had_text && !full_ && length() + static_cast<int64_t>(more.size()) <= longest;
  if (!fits) {
    more = prompt_tokens(model_.config(), tokenizer_, line);
    tokens_.clear();
    cache_.clear(0);
    full_ = false;
  }
  tokens_.insert(tokens_.end(), more.begin(), more.end());
  // Of a text that is in the cache as a whole the last token is computed again, for its logits.
  if (cache_.length(0) == length()) cache_.keep(0, length() - 1);

  Turn turn{Outcome::Ended, had_text && !fits};
  Continuation text(tokenizer_, tokens_, options_, longest);
  ++options_.seed;
  while (!text.finished()) {
    const std::span<const int32_t> fresh = std::span(text.tokens()).subspan(static_cast<size_t>(cache_.length(0)));
    const int64_t before = cache_.length(0);
    std::vector<float> logits = append_tokens(model_, fresh, 0, cache_, prefill_chunk_, stop);
    computed_ += cache_.length(0) - before;
    if (logits.empty()) {
      turn.outcome = Outcome::Stopped;
      break;
    }
    const std::string piece = text.pick(std::move(logits));
    if (!piece.empty()) emit(piece);
  }
  tokens_ = text.tokens();
  // The end of a document is no part of a text that goes on.
  if (text.reason() == FinishReason::End) tokens_.pop_back();
  full_ = length() > longest;
  if (full_) turn.outcome = Outcome::Full;
  return turn;
}

}  // namespace gta
