#include "launch/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "core/error.h"
#include "core/random.h"

namespace gta {
namespace {

// A token may be impossible (-inf), as those beyond the tokenizer's are; not all may be, and none may be more.
void require_finite(const std::vector<float>& logits) {
  bool possible = false;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id]) || logits[id] == std::numeric_limits<float>::infinity())
      fail("generate", "the model gives token {} the logit {}: its weights have diverged; take an earlier checkpoint",
           id, logits[id]);
    possible |= std::isfinite(logits[id]);
  }
  if (!possible)
    fail("generate", "the model finds every token impossible: its weights have diverged; take an earlier checkpoint");
}

}  // namespace

int32_t pick_token(std::vector<float> logits, const SamplingOptions& options, double random) {
  require_finite(logits);
  // Ties fall to the smaller id, so that the choice is the same everywhere.
  const auto later = [&](int32_t a, int32_t b) { return logits[a] < logits[b] || (logits[a] == logits[b] && a > b); };
  std::vector<int32_t> heap(logits.size());
  std::iota(heap.begin(), heap.end(), 0);
  const int32_t first = *std::max_element(heap.begin(), heap.end(), later);
  if (options.temperature <= 0) return first;
  const auto weight = [&](int32_t id) { return std::exp((logits[id] - logits[first]) / options.temperature); };
  // The most probable tokens come from a heap, one by one: nearly always a few of them decide, and the others are never
  // sorted.
  std::make_heap(heap.begin(), heap.end(), later);
  std::vector<int32_t> order;
  const auto extend_to = [&](size_t count) {
    while (order.size() < count) {
      order.push_back(heap.front());
      std::pop_heap(heap.begin(), heap.end(), later);
      heap.pop_back();
    }
  };
  size_t kept = heap.size();
  double total = 0;
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < kept) {
    extend_to(kept = static_cast<size_t>(options.top_k));
    for (int32_t id : order) total += weight(id);
  } else {
    for (int32_t id : heap) total += weight(id);
  }
  // Of all that is kept, or of the fewest that have top_p of it.
  double nucleus = total;
  if (options.top_p < 1) {
    nucleus = 0;
    for (size_t i = 0; i < kept; ++i) {
      extend_to(i + 1);
      nucleus += weight(order[i]);
      if (nucleus >= options.top_p * total) kept = i + 1;
    }
  }
  double target = random * nucleus;
  int32_t picked = first;
  for (size_t i = 0; i < kept; ++i) {
    extend_to(i + 1);
    const double probability = weight(order[i]);
    if (probability == 0) break;  // as all after it: what rounding leaves of the target picks none of them
    picked = order[i];
    target -= probability;
    if (target < 0) break;
  }
  return picked;
}

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

void generate(const CausalLm& model, const Tokenizer& tokenizer, const std::string& prompt,
              const SamplingOptions& options, const std::function<void(const std::string&)>& emit) {
  const int64_t longest = model.config().max_sequence_length;
  std::vector<int32_t> next = prompt_tokens(model.config(), tokenizer, prompt);
  const auto prompted = static_cast<int64_t>(next.size());
  constexpr int64_t kOnly[] = {0};
  DecodingCache cache = model.make_cache(1, prompted + std::min(longest - prompted, options.max_tokens));
  const RandomStream random(options.seed, "generate");
  StreamDecoder decoder(tokenizer);
  // so that the first new piece keeps its space
  for (int32_t id : std::span(next).subspan(tokenizer.bos() >= 0 ? 1 : 0)) decoder.push(id);
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const Tensor logits =
        model.decode(Tensor::from<int32_t>({1, static_cast<int64_t>(next.size())}, next), kOnly, cache);
    const std::vector<double> doubles = to_doubles(logits);
    std::vector<float> values(doubles.begin(), doubles.end());
    // The model's vocabulary may be padded beyond the tokenizer's.
    for (size_t id = static_cast<size_t>(tokenizer.vocab_size()); id < values.size(); ++id)
      values[id] = -std::numeric_limits<float>::infinity();
    const int32_t token = pick_token(std::move(values), options, random.uniform(static_cast<uint64_t>(i)));
    // The bytes of a character that no further token completes are text too.
    const bool at_eos = token == tokenizer.eos(),
               ends = at_eos || i + 1 == options.max_tokens || cache.length(0) == longest;
    std::string piece = at_eos ? "" : decoder.push(token);
    if (ends) piece += decoder.finish();
    if (!at_eos || !piece.empty()) emit(piece);
    if (ends) break;
    next = {token};
  }
}

}  // namespace gta
