#include "launch/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

#include "core/host_copy.h"
#include "layers/cross_entropy/linear_cross_entropy.h"

namespace gta {

static_assert(kNoLabel == kIgnoredLabel, "what data gives no label to is what the loss ignores");

double EvaluationResult::perplexity() const { return std::exp(loss); }

double EvaluationResult::bits_per_byte() const {
  return loss * static_cast<double>(tokens) / std::numbers::ln2 / static_cast<double>(std::max<int64_t>(bytes, 1));
}

namespace {

// Of the windows [first, first + count): the sum of the losses of their tokens.
HostCopy batch_loss(const CausalLm& model, const EvaluationSet& set, int64_t first, int64_t count, DocumentMask mask) {
  const int64_t sequence_length = set.sequence_length();
  std::vector<int32_t> tokens(count * sequence_length), labels(count * sequence_length),
      starts(count * sequence_length);
  for (int64_t i = 0, at = 0; i < count; ++i, at += sequence_length)
    set.window(first + i, &tokens[at], &labels[at], &starts[at]);
  Tape tape(TapeMode::Inference);
  const Shape shape{count, sequence_length};
  const Tensor document_starts =
      mask == DocumentMask::On ? Tensor::from<int32_t>({shape.elements()}, starts) : Tensor{};
  return HostCopy(model.loss(tape, Tensor::from<int32_t>(shape, tokens), Tensor::from<int32_t>(shape, labels), 1.0,
                             document_starts));
}

// What a rank says of a round, in which each computes one batch.
struct Round {
  double loss;  // of its batch in the round before
  int64_t stops;
};

}  // namespace

EvaluationResult evaluate(const CausalLm& model, const EvaluationSet& set, int64_t batch, DocumentMask mask,
                          const std::function<bool()>& stop) {
  Communicator alone;
  return evaluate(model, set, batch, mask, stop, alone);
}

EvaluationResult evaluate(const CausalLm& model, const EvaluationSet& set, int64_t batch, DocumentMask mask,
                          const std::function<bool()>& stop, Communicator& ranks) {
  double total = 0;
  std::optional<HostCopy> before;  // a GPU works on the next batch while the last one's loss is read
  for (int64_t round = 0;; round += batch * ranks.ranks()) {
    const int64_t first = round + batch * ranks.rank();
    std::optional<HostCopy> loss;
    Round own{0, stop && stop() ? 1 : 0};
    ranks.together("batch of an evaluation", [&] {
      if (first < set.windows() && own.stops == 0)
        loss = batch_loss(model, set, first, std::min(batch, set.windows() - first), mask);
      if (before) own.loss = before->values<double>()[0];
    });
    int64_t stops = 0;
    for (const Round& rank : ranks.gather("losses of an evaluation", own)) {
      total += rank.loss;
      stops += rank.stops;
    }
    // In the round after the last batch the last losses come.
    if (round >= set.windows()) break;
    if (stops > 0) return {.complete = false};
    before = std::move(loss);
  }
  EvaluationResult result;
  result.tokens = set.scored_tokens();
  result.bytes = set.scored_bytes();
  result.loss = result.tokens ? total / static_cast<double>(result.tokens) : 0;
  return result;
}

}  // namespace gta
