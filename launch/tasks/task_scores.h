// How probable a model finds the choices of a task, and how often the most probable one is right.
//
//   score of a choice   sum over its tokens of log p(token | context, tokens before)
//   acc                 its largest is the right one          acc_norm, acc_bytes, acc_tokens: over its characters, its
//                       UTF-8 bytes, its tokens
//   standard error      sqrt(sum (a_i - mean)^2 / (n - 1) / n), as lm-evaluation-harness
#pragma once

#include <functional>

#include "data/tokenizer.h"
#include "launch/tasks/task_items.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

// A context and its continuation as tokens. As lm-evaluation-harness encodes a pair: white space at the end of the
// context belongs to the continuation; both are encoded together, with BOS where the tokenizer has one, and the
// continuation is what that has beyond the tokens of the context alone. What is longer than the model's context loses
// its beginning.
struct EncodedPair {
  std::vector<int32_t> tokens;
  int64_t scored = 0;  // the last so many, which are the continuation
  bool cut = false;    // at its beginning
};
// Error(BadInput) that begins with `place` where no token is left to be scored, or the continuation alone is too long.
EncodedPair encode_pair(const Tokenizer& tokenizer, const TaskItem::Pair& pair, int64_t longest,
                        const std::string& place);

struct PairScore {
  double log_probability = 0;
  bool greedy = true;  // each token is the most probable one
  int64_t tokens = 0;
};
// In batches of about the same length; how they are put together changes rounding alone.
std::vector<PairScore> score_pairs(const CausalLm& model, const std::vector<EncodedPair>& pairs);

struct Mean {
  double value, standard_error;  // the error is NaN for one item alone
};
struct TaskResult {
  int64_t items = 0;
  int64_t cut = 0;  // pairs that were longer than the model's context
  Mean acc;         // of a last word: each of its tokens is the most probable
  // Of choices:
  Mean acc_norm, acc_bytes, acc_tokens;
  // Of a last word: exp(-mean score), its error to first order from that of the mean.
  Mean perplexity;
};
TaskResult evaluate_task(const CausalLm& model, const Tokenizer& tokenizer, const Task& task);

}  // namespace gta
