// Which elements of the flat space belong to which rank: the one place that knows the policy. Memory, reduction,
// update, gathering, checkpoint files and norms walk these ranges; nothing else may assume that a range is the whole,
// or where cuts lie.
//
//   slice     a bucket of matrices in equal parts, one a rank; of the vectors, which are small, all are rank 0's
//   owned     a rank's slices: over all ranks every element exactly once. Whose squares it sums, what its file holds.
//   updated   what a rank keeps masters and moments of: its slices, and the vectors, which every rank updates from the
//             same bits; everything where nothing is sharded
#pragma once

#include <vector>

#include "core/parameter_layout.h"

namespace gta {

enum class Sharding : uint8_t { None, Optimizer };
const char* name_of(Sharding sharding);  // "none", "optimizer"

class ShardMap {
 public:
  ShardMap() = default;
  // Of a layout that is arranged for so many ranks.
  ShardMap(const ParameterLayout& layout, Sharding sharding, int64_t ranks);

  int64_t ranks() const { return ranks_; }
  FlatRange slice(int64_t bucket, int64_t rank) const;
  // In the order of the space, matrices first; for one rank the whole of each kind, elements or none.
  std::vector<FlatRange> owned(int64_t rank) const;
  std::vector<FlatRange> updated(int64_t rank) const;

 private:
  std::vector<FlatRange> buckets_;
  std::vector<FlatRange> everything_;  // both kinds
  Sharding sharding_ = Sharding::None;
  int64_t ranks_ = 1;
};

}  // namespace gta
