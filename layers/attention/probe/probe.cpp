#include "layers/attention/probe/probe.h"

#include <algorithm>

#include "layers/attention/probe/effective_rank.h"
#include "layers/attention/probe/map_statistics.h"

namespace gta {

ProbedRows::ProbedRows(int64_t batch, int64_t sequence)
    : batch_(batch),
      sequence_(sequence),
      rows_(std::min(sequence, kProbedRows)),
      sequences_(std::min(batch, kProbedTokens / rows_)) {}

Tensor ProbedRows::of(const Tensor& x) const {
  std::vector<double> values;
  values.reserve(sequences_ * rows_ * x.columns());
  for (int64_t s = batch_ - sequences_; s < batch_; ++s) {
    const std::vector<double> rows = to_doubles(x.row_slice(s * sequence_, rows_));
    values.insert(values.end(), rows.begin(), rows.end());
  }
  return Tensor::from<double>({sequences_ * rows_, x.columns()}, values, Purpose::Workspace);
}

std::vector<int32_t> ProbedRows::of_starts(const Tensor& document_starts) const {
  if (!document_starts.defined()) return {};
  const std::vector<int32_t> all = document_starts.to_vector<int32_t>();
  std::vector<int32_t> starts;
  for (int64_t s = batch_ - sequences_; s < batch_; ++s)
    starts.insert(starts.end(), all.begin() + s * sequence_, all.begin() + s * sequence_ + rows_);
  return starts;
}

void look_at_core(const AttentionForward& core, Probe::Block& block) {
  block.largest_score = GTA_DISPATCH(core.q.device(), shared_map_attention_largest_score, core);
  const ProbedRows rows(core.shape.batch, core.queries());
  const Tensor q = rows.of(core.q), k = rows.of(core.k);
  AttentionShape shape = core.shape;
  shape.batch = rows.sequences();
  const MapStatistics maps = map_statistics(shape, q, k, rows.of_starts(core.document_starts));
  block.map_entropy = maps.entropy;
  block.map_similarity = maps.similarity;
  block.key_rank = effective_rank(k);
  block.value_rank = effective_rank(rows.of(core.v));
}

}  // namespace gta
