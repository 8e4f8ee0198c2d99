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

// What a batch of windows is scored with, on its way to the host.
class BatchLoss {
 public:
  // Of the windows [first, first + count).
  BatchLoss(const CausalLm& model, const EvaluationSet& set, int64_t first, int64_t count, DocumentMask mask)
      : sequence_length_(set.sequence_length()),
        mask_(mask),
        labels_(count * sequence_length_),
        starts_(labels_.size()),
        document_tokens_(labels_.size()) {
    std::vector<int32_t> tokens(labels_.size());
    for (int64_t i = 0, at = 0; i < count; ++i, at += sequence_length_)
      set.window(first + i, &tokens[at], &labels_[at], &starts_[at], &document_tokens_[at]);
    Tape tape(TapeMode::Inference);
    const Shape shape{count, sequence_length_};
    const Tensor of_tokens = Tensor::empty({shape.elements(), 2}, DType::F64, model.device(), Purpose::Workspace);
    const CausalLm::Losses losses = model.losses(
        tape, Tensor::from<int32_t>(shape, tokens), Tensor::from<int32_t>(shape, labels_),
        {.document_starts = mask == DocumentMask::On ? Tensor::from<int32_t>({shape.elements()}, starts_) : Tensor{},
         .token_losses = of_tokens});
    total_.emplace(losses.total);
    of_tokens_.emplace(of_tokens);
  }

  double total() const { return total_->values<double>()[0]; }
  LossBreakdown breakdown() const {
    LossBreakdown breakdown;
    const std::vector<double> losses = of_tokens_->values<double>();
    for (size_t i = 0; i < labels_.size(); ++i) {
      if (labels_[i] == kNoLabel) continue;
      const int64_t row = static_cast<int64_t>(i) % sequence_length_;
      breakdown.add(row - (mask_ == DocumentMask::On ? starts_[i] : 0) + 1, document_tokens_[i], losses[2 * i]);
    }
    return breakdown;
  }

 private:
  int64_t sequence_length_;
  DocumentMask mask_;
  std::vector<int32_t> labels_, starts_;
  std::vector<int64_t> document_tokens_;
  std::optional<HostCopy> total_, of_tokens_;
};

// What a rank says of a round, in which each computes one batch.
struct Round {
  double loss;  // of its batch in the round before
  int64_t stops;
  LossBreakdown breakdown;  // of that batch
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
  EvaluationResult result;
  std::optional<BatchLoss> before;  // a GPU works on the next batch while the last one's loss is read
  for (int64_t round = 0;; round += batch * ranks.ranks()) {
    const int64_t first = round + batch * ranks.rank();
    std::optional<BatchLoss> loss;
    Round own{0, stop && stop() ? 1 : 0, {}};
    ranks.together("batch of an evaluation", [&] {
      if (first < set.windows() && own.stops == 0)
        loss.emplace(model, set, first, std::min(batch, set.windows() - first), mask);
      if (!before) return;
      own.loss = before->total();
      own.breakdown = before->breakdown();
    });
    int64_t stops = 0;
    for (const Round& rank : ranks.gather("losses of an evaluation", own)) {
      total += rank.loss;
      result.breakdown.add(rank.breakdown);
      stops += rank.stops;
    }
    // In the round after the last batch the last losses come.
    if (round >= set.windows()) break;
    if (stops > 0) return {.complete = false};
    before = std::move(loss);
  }
  result.tokens = set.scored_tokens();
  result.bytes = set.scored_bytes();
  result.loss = result.tokens ? total / static_cast<double>(result.tokens) : 0;
  return result;
}

}  // namespace gta
