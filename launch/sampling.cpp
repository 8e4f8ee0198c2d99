#include "launch/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "core/random.h"

namespace gta {

int32_t pick_token(std::vector<float> logits, const SamplingOptions& options, double random) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // Ties fall to the smaller id, so that the choice is the same everywhere.
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (options.temperature <= 0) return order[0];
  size_t kept = order.size();
  if (options.top_k > 0) kept = std::min(kept, static_cast<size_t>(options.top_k));
  std::vector<double> weights(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i) total += weights[i] = std::exp((logits[order[i]] - logits[order[0]]) / options.temperature);
  double nucleus = 0;
  for (size_t i = 0; i < kept; ++i) {
    nucleus += weights[i];
    if (nucleus >= options.top_p * total) {
      kept = i + 1;
      break;
    }
  }
  double target = random * nucleus;
  for (size_t i = 0; i < kept; ++i) {
    target -= weights[i];
    if (target < 0) return order[i];
  }
  return order[kept - 1];
}

std::vector<int32_t> prompt_tokens(const ModelConfig& config, const Tokenizer& tokenizer, const std::string& prompt) {
  std::vector<int32_t> tokens;
  if (tokenizer.bos() >= 0) tokens.push_back(tokenizer.bos());
  const std::vector<int32_t> pieces = tokenizer.encode(prompt);
  tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  require(!tokens.empty(), "generate", "the prompt is empty and the tokenizer has no token to begin with");
  require(static_cast<int64_t>(tokens.size()) < config.max_sequence_length, "generate", "the prompt has {} tokens, the model sees at most {}", tokens.size(),
          config.max_sequence_length);
  return tokens;
}

void generate(const CausalLm& model, const ParameterSpace& space, const Tokenizer& tokenizer, const std::string& prompt,
              const SamplingOptions& options, const std::function<void(const std::string&)>& emit) {
  const int64_t longest = model.config().max_sequence_length;
  std::vector<int32_t> next = prompt_tokens(model.config(), tokenizer, prompt);
  DecodingCache cache(model.config(), std::min(longest, static_cast<int64_t>(next.size()) + options.max_tokens), space.dtype(), space.device());
  const RandomStream random(options.seed, "generate");
  StreamDecoder decoder(tokenizer);
  for (int32_t id : std::span(next).subspan(tokenizer.bos() >= 0 ? 1 : 0)) decoder.push(id);  // so that the first new piece keeps its space
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const Tensor logits = model.decode(Tensor::from<int32_t>({1, static_cast<int64_t>(next.size())}, next), cache);
    const std::vector<double> doubles = to_doubles(logits);
    std::vector<float> values(doubles.begin(), doubles.end());
    // The model's vocabulary may be padded beyond the tokenizer's.
    for (size_t id = static_cast<size_t>(tokenizer.vocab_size()); id < values.size(); ++id) values[id] = -std::numeric_limits<float>::infinity();
    const int32_t token = pick_token(std::move(values), options, random.uniform(static_cast<uint64_t>(i)));
    // The bytes of a character that no further token completes are text too.
    const bool at_eos = token == tokenizer.eos(), ends = at_eos || i + 1 == options.max_tokens || cache.filled() == longest;
    std::string piece = at_eos ? "" : decoder.push(token);
    if (ends) piece += decoder.finish();
    if (!at_eos || !piece.empty()) emit(piece);
    if (ends) break;
    next = {token};
  }
}

}  // namespace gta
