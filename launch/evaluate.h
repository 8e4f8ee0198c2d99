// Loss of a model over a fixed set of tokens.
#pragma once

#include "data/evaluation.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

struct EvaluationResult {
  double loss = 0;  // nats per scored token
  int64_t tokens = 0, bytes = 0;
  double perplexity() const;
  double bits_per_byte() const;  // all nats over all text bytes of the scored tokens
};

EvaluationResult evaluate(const CausalLm& model, const EvaluationSet& set, int64_t sequence_length, int64_t batch);

}  // namespace gta
