// Which token is next: of the logits l of all tokens, in this order, as transformers' processors do it,
//
//   repetition penalty r   l_t / r where l_t >= 0, l_t r where not, of every token t that came before, once
//   temperature T          p_t = exp(l_t / T) / sum over all; T = 0: the largest, and nothing below counts
//   top_k                  the k most probable
//   top_p                  of what is left, the fewest that together have top_p of its probability
//   min_p                  of what is left, those with min_p of the most probable one's probability
//
// and of what stays one is drawn. Of equal logits the smaller id comes first, so that the choice is the same everywhere
// and exactly k stay (transformers keeps all that equal the k-th).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace gta {

struct TokenChoice {
  double temperature = 0.8;  // 0: always the most probable token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;        // 0 to 1; one token stays always
  double min_p = 0.0;        // 0 to 1
  double repetition_penalty = 1.0;
};

struct Candidate {
  int32_t token;
  double probability;
};

// What stays, most probable first; the probabilities add up to 1. `earlier`: the tokens that are penalised. Error
// (Failed) for logits that are not finite; -inf is a token that is never picked.
std::vector<Candidate> candidates(std::vector<float> logits, const TokenChoice& choice,
                                  std::span<const int32_t> earlier = {});

// The one of them that `random` in [0, 1) picks. No more of the vocabulary is sorted than is looked at.
int32_t pick_token(std::vector<float> logits, const TokenChoice& choice, double random,
                   std::span<const int32_t> earlier = {});

// The natural logarithm of the token's probability as the model gives it: before all of the above.
double log_probability(const std::vector<float>& logits, int32_t token);

}  // namespace gta
