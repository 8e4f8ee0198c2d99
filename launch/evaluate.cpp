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

EvaluationResult evaluate(const CausalLm& model, const EvaluationSet& set, int64_t batch, DocumentMask mask,
                          const std::function<bool()>& stop) {
  const int64_t sequence_length = set.sequence_length();
  double total = 0;
  std::optional<HostCopy> before;  // a GPU works on the next batch while the last one's loss is read
  for (int64_t first = 0; first < set.windows(); first += batch) {
    if (stop && stop()) return {.complete = false};
    const int64_t count = std::min(batch, set.windows() - first);
    std::vector<int32_t> tokens(count * sequence_length), labels(count * sequence_length),
        starts(count * sequence_length);
    for (int64_t i = 0, at = 0; i < count; ++i, at += sequence_length)
      set.window(first + i, &tokens[at], &labels[at], &starts[at]);
    Tape tape(TapeMode::Inference);
    const Shape shape{count, sequence_length};
    const Tensor document_starts =
        mask == DocumentMask::On ? Tensor::from<int32_t>({shape.elements()}, starts) : Tensor{};
    HostCopy loss(model.loss(tape, Tensor::from<int32_t>(shape, tokens), Tensor::from<int32_t>(shape, labels), 1.0,
                             document_starts));
    if (before) total += before->values<double>()[0];
    before = std::move(loss);
  }
  if (before) total += before->values<double>()[0];
  EvaluationResult result;
  result.tokens = set.scored_tokens();
  result.bytes = set.scored_bytes();
  result.loss = result.tokens ? total / static_cast<double>(result.tokens) : 0;
  return result;
}

}  // namespace gta
