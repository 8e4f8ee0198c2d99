// Loss of a model over a fixed set of tokens.
#pragma once

#include <functional>

#include "core/comm/communicator.h"
#include "data/document_mask.h"
#include "data/evaluation.h"
#include "launch/loss_breakdown.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

struct EvaluationResult {
  bool complete = true;  // false: it was stopped, and the numbers mean nothing
  double loss = 0;       // nats per scored token
  int64_t tokens = 0, bytes = 0;
  LossBreakdown breakdown = {};
  double perplexity() const;
  double bits_per_byte() const;  // all nats over all text bytes of the scored tokens
};

// With a mask a window's tokens see their own document only, as in training with data.document_mask. `stop` is asked
// before each batch.
EvaluationResult evaluate(const CausalLm& model, const EvaluationSet& set, int64_t batch, DocumentMask mask,
                          const std::function<bool()>& stop = {});
// The same by all ranks, who take one batch after the other in turn; the result is each one's, and the sum is made in
// the order of batches. It ends where one is told to stop; what one cannot compute is the same Error on each.
EvaluationResult evaluate(const CausalLm& model, const EvaluationSet& set, int64_t batch, DocumentMask mask,
                          const std::function<bool()>& stop, Communicator& ranks);

}  // namespace gta
