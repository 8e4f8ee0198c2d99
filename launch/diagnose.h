// What a step looks like layer by layer: one row of metrics.jsonl.
#pragma once

#include "core/comm/communicator.h"
#include "launch/metrics.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

// {"step": 100, "gradient_norm/layers.0": ..., "weight_norm/layers.0": ..., "stream_rms/layers.0": ...,
// "largest_score/layers.0": ..., ...}
//
// Norms are L2 over all parameters of a part (embed_tokens, layers.N, norm, lm_head), of the gradients as they stand
// now, each rank adding what it owns; stream_rms and largest_score (the largest scaled attention score) are of a
// forward pass of these tokens before the update, each rank's of its own. All ranks; what one cannot compute is the
// same Error on each.
DiagnosisRow diagnose(const CausalLm& model, const ParameterSpace& space, Communicator& ranks, int64_t step,
                      const Tensor& tokens, const Tensor& document_starts);

}  // namespace gta
