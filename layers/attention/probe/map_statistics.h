// What attention maps look like, in float64 on the host:
//
//   A_g[t, s] = softmax over the visible keys s of (scale q_g[t] k_{g / (nq/nk)}[s])
//   entropy    = mean over t and g of -sum_s A_g[t, s] log A_g[t, s]                      nats
//   similarity = mean over t and all pairs g < h of A_g[t] A_h[t] / (|A_g[t]| |A_h[t]|)
//
// Query t of a sequence sees the keys from document_starts[t] to its own: a query that sees one key alone counts as any
// other, with an entropy of 0 and a similarity of 1.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta {

struct MapStatistics {
  double entropy;
  std::optional<double> similarity;  // nothing of one map, which has no other
};

// q float64 (batch * rows, nq * dk), k float64 (batch * rows, nk * dk) on the host, document_starts (batch * rows) or
// empty. NaN where a score is. The same bits for any number of threads.
MapStatistics map_statistics(const AttentionShape& shape, const Tensor& q, const Tensor& k,
                             std::span<const int32_t> document_starts);

}  // namespace gta
