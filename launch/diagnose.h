// What a step looks like layer by layer: one row of metrics.jsonl.
#pragma once

#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "launch/metrics.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {

// {"step": 100, "gradient_norm/layers.0": ..., "weight_norm/layers.0": ..., "update_norm/layers.0": ...,
// "stream_rms/layers.0": ..., "largest_score/layers.0": ..., "map_entropy/layers.0": ..., ...}
//
// Norms are L2 over all parameters of a part (embed_tokens, layers.N, norm, lm_head), each rank adding what it owns: of
// the gradients and the masters before the update, and of what the update adds to the masters. Everything else
// (layers/attention/probe) is of a forward pass before the update, which the lead makes alone, of its own tokens: it
// keeps the row.
//
//   Diagnosis diagnosis(...);        what is seen before the update
//   diagnosis.update(...);           in place of the optimizer's step(): the same bits
//   DiagnosisRow row = diagnosis.row();
//
// All ranks, the first and the last line together: what one cannot compute is the same Error on each. The update may
// not fail, so it has its memory from the beginning on: a MiB of masters, and a number for each part.
class Diagnosis {
 public:
  Diagnosis(const CausalLm& model, const ParameterSpace& space, Communicator& ranks, int64_t step, const Tensor& tokens,
            const Tensor& document_starts);
  // Arguments of AdamW::step().
  void update(AdamW& optimizer, double learning_rate, const Tensor& squares, const Tensor& losses);
  DiagnosisRow row();

 private:
  struct Piece {
    FlatRange range;  // of one part, owned by this rank
    Tensor squares;   // of its part's update, float64 (1)
  };
  Tensor squares_of(const char* what, const Parameter& parameter);

  const ParameterSpace& space_;
  Communicator& ranks_;
  DiagnosisRow row_;
  std::map<std::string, Tensor> squares_;  // of what this rank owns, by name
  std::vector<Piece> owned_;
  Tensor before_;  // masters, as many as fit
};

}  // namespace gta
