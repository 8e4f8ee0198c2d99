// What a forward pass looks like inside, block by block: numbers for people who compare variants or watch a run.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta {

// Of which rows of a batch the maps and the ranks are. They are computed on the host in float64, so there are never
// more than kProbedTokens: the first kProbedRows rows, or as many as there are, of each of the last sequences. The last
// ones of a batch, since those of a step stay the same when it is cut into other micro-batches.
inline constexpr int64_t kProbedTokens = 1024, kProbedRows = 512;

struct Probe {
  struct Block {
    double largest_score = 0;  // the largest scaled score before a softmax, of all rows
    double stream_rms = 0;     // root mean square of the residual stream after the block, of all rows
    double map_entropy = 0;    // map_statistics.h
    std::optional<double> map_similarity;
    double key_rank = 0;    // effective_rank.h, of (rows, all key heads)
    double value_rank = 0;  // of (rows, all value heads)
    std::optional<double> latent_rank;
  };
  std::vector<Block> blocks;
};

class ProbedRows {
 public:
  // Of a batch of `batch` sequences of `sequence` rows, one after the other.
  ProbedRows(int64_t batch, int64_t sequence);
  int64_t sequences() const { return sequences_; }
  // Of a tensor of the batch, on whatever device: float64 (sequences() * rows, columns) on the host.
  Tensor of(const Tensor& x) const;
  // Of document_starts, int32 (batch * sequence): empty where it is undefined.
  std::vector<int32_t> of_starts(const Tensor& document_starts) const;

 private:
  int64_t batch_, sequence_;
  int64_t rows_, sequences_;
};

// Of this call of the core: the largest score, the maps, and the ranks of keys and of what the maps weigh.
void look_at_core(const AttentionForward& core, Probe::Block& block);

}  // namespace gta
