// What a step takes on several ranks, from rates that are given: no second rank is needed to say it.
//
//   R ranks; N ranks in a full node, n in the smallest one; B bytes of a bucket, all of it
//   W, V bytes/s that a rank sends between nodes and within its own, receiving as much; a seconds, of each message
//
//   sent(B)     = B (R - 1) / R                                             by each rank
//   seconds(B)  = max(B (R - n) / R / W, B (N - 1) / R / V) + (R - 1) a     of one collective; one node: N = n = R
//
// Collectives follow each other, beside what is computed (core/comm/data_parallel.h). Buckets have their numbers in the
// order in which backward finishes them: b = 0 .. last.
//
//   forward     of the first micro-batch. Weights G_b are gathered from the last bucket to the first, from the update
//               on; the blocks of a bucket, F_b seconds, wait for it
//                   g_b = g_b+1 + seconds(G_b)          f_b = max(f_b+1, g_b) + F_b
//                   waited = f_0 - sum F_b
//   backward    of the last micro-batch. Sums S_b begin when the bucket is complete, B_b seconds after the one before
//                   c_b = c_b-1 + B_b                   s_b = max(s_b-1, c_b) + seconds(S_b)
//                   waited = s_last - c_last            the vectors, added up and handed back, come last
//   agreement   2 small collectives, which nothing hides
//
//   step        = micro-batches x (sum F_b + head + sum B_b) + update + what was waited
//
// The head and its loss make their gradients in forward (layers/cross_entropy): they come between both sums.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shard_map.h"
#include "launch/budget.h"
#include "launch/config/run_config.h"

namespace gta {

// What connects the ranks.
struct Network {
  int64_t ranks = 1;
  int64_t ranks_of_node = 8;
  double between_nodes = 0;  // W; not looked at where one node has all ranks
  double within_node = 0;    // V
  double latency = 0;        // a

  bool one_node() const { return ranks <= ranks_of_node; }
};
int64_t bytes_sent(const Network& network, int64_t bytes);  // of a multiple of the ranks
double collective_seconds(const Network& network, int64_t bytes);

struct BucketLoad {
  int64_t gradient_bytes = 0;  // S: that are added up
  int64_t weight_bytes = 0;    // G: that are gathered
  double forward_seconds = 0, backward_seconds = 0;
};

// A rank's part in a step, as it would be without others.
struct RankWork {
  std::vector<BucketLoad> buckets;  // of matrices
  int64_t vector_bytes = 0;         // of gradients, padded for the ranks
  double head_seconds = 0;          // of a micro-batch
  double update_seconds = 0;
  int64_t micro_batches = 1;
  Sharding sharding = Sharding::Optimizer;

  double computing_seconds() const;  // all micro-batches
  int64_t largest_bucket_bytes() const;
};
// Of a run whose batch so many ranks share, with the speed of one of them. speed.update_seconds is that of a rank that
// updates everything.
RankWork rank_work(const RunConfig& run, const RunSpeed& speed, int64_t ranks);

struct ScaledStep {
  int64_t gradient_bytes = 0, weight_bytes = 0, agreement_bytes = 0;       // that a rank sends, and receives
  double gradient_seconds = 0, weight_seconds = 0, agreement_seconds = 0;  // that they take on the network
  double waiting_for_gradients = 0, waiting_for_weights = 0;               // of them, what nothing hides
  double computing = 0, update = 0;                                        // seconds

  int64_t bytes() const { return gradient_bytes + weight_bytes + agreement_bytes; }
  double communication() const { return gradient_seconds + weight_seconds + agreement_seconds; }
  double exposed() const { return waiting_for_gradients + waiting_for_weights + agreement_seconds; }
  double hidden() const {
    const double rest = communication() - exposed();
    return rest > 1e-9 * communication() ? rest : 0;  // nothing, but for rounding
  }
  double seconds() const { return computing + update + exposed(); }
};
ScaledStep scaled_step(const RankWork& work, const Network& network);

// What one rank would take for the whole batch, over what the ranks take, over their number.
double efficiency(const RankWork& work, const Network& network);

// The train.bucket_mib, a power of two, with which a step is shortest; the run's own where no other makes it a
// hundredth shorter.
struct BucketSize {
  int64_t mib = 0;
  double step_seconds = 0;
  int64_t largest_bytes = 0;  // of a bucket's gradients: a rank works in as many
};
BucketSize best_bucket_size(const RunConfig& run, const RunSpeed& speed, const Network& network);

// Of the whole run: validation is shared by the ranks, samples and diagnosis are not.
double run_seconds(const RunBudget& budget, const RunSpeed& speed, const ScaledStep& step, int64_t ranks);

}  // namespace gta
