#include "launch/sampling.h"

#include <algorithm>

#include "core/error.h"

namespace gta {

std::vector<int32_t> prompt_tokens(const ModelConfig& config, const Tokenizer& tokenizer, const std::string& prompt) {
  std::vector<int32_t> tokens;
  if (tokenizer.bos() >= 0) tokens.push_back(tokenizer.bos());
  const std::vector<int32_t> pieces = tokenizer.encode(prompt);
  tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  require(!tokens.empty(), "generate", "the prompt is empty and the tokenizer has no token to begin with");
  // The last token that is picked needs no place of its own.
  require(static_cast<int64_t>(tokens.size()) <= config.max_sequence_length, "generate",
          "the prompt has {} tokens, the model sees at most {}: shorten it, or raise model.max_sequence_length",
          tokens.size(), config.max_sequence_length);
  return tokens;
}

std::vector<float> logits_row(const Tensor& logits, int64_t row) {
  const std::vector<double> doubles = to_doubles(logits.row_slice(row, 1));
  return {doubles.begin(), doubles.end()};
}

std::vector<float> append_tokens(const CausalLm& model, std::span<const int32_t> tokens, int64_t sequence,
                                 DecodingCache& cache, int64_t chunk, const std::function<bool()>& stop) {
  ensure(!tokens.empty() && chunk > 0, "generate", "cannot append {} tokens, {} at a time", tokens.size(), chunk);
  const int64_t sequences[] = {sequence};
  Tensor logits;
  while (!tokens.empty()) {
    if (stop && stop()) return {};
    const size_t count = std::min(tokens.size(), static_cast<size_t>(chunk));
    logits = Tensor{};  // of the chunk before: its room is this one's
    logits = model.decode(Tensor::from<int32_t>({1, static_cast<int64_t>(count)},
                                                {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)}),
                          sequences, cache);
    tokens = tokens.subspan(count);
  }
  return logits_row(logits, 0);
}

void generate(const CausalLm& model, const Tokenizer& tokenizer, const std::string& prompt,
              const SamplingOptions& options, const std::function<void(const std::string&)>& emit) {
  generate_samples(model, tokenizer, prompt, options, 1, {model.dtype()}, {.emits = emit});
}

void generate_samples(const CausalLm& model, const Tokenizer& tokenizer, const std::string& prompt,
                      const SamplingOptions& options, int64_t samples, const CacheOptions& cached,
                      const SampleListener& listener) {
  const int64_t longest = model.config().max_sequence_length;
  const std::vector<int32_t> tokens = prompt_tokens(model.config(), tokenizer, prompt);
  const auto prompted = static_cast<int64_t>(tokens.size());
  DecodingCache cache = model.make_cache(1, prompted + std::min(longest - prompted, options.max_tokens), cached.dtype);
  const std::vector<float> first = append_tokens(model, tokens, 0, cache, cached.prefill_chunk);
  for (int64_t sample = 0; sample < samples; ++sample) {
    SamplingOptions own = options;
    own.seed = options.seed + static_cast<uint64_t>(sample);
    Continuation text(tokenizer, tokens, own, longest);
    if (listener.begins) listener.begins(sample);
    cache.keep(0, prompted);
    for (std::vector<float> logits = first;;) {
      const std::string piece = text.pick(std::move(logits));
      // The end of the document is no token of the text.
      if (listener.emits && (text.reason() != FinishReason::End || !piece.empty())) listener.emits(piece);
      if (text.finished()) break;
      logits = append_tokens(model, std::span(text.tokens()).last(1), 0, cache, cached.prefill_chunk);
    }
    if (listener.ends) listener.ends(text);
  }
}

}  // namespace gta
