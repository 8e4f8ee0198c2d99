#include "core/shard_map.h"

#include "core/error.h"

namespace gta {

const char* name_of(Sharding sharding) { return sharding == Sharding::None ? "none" : "optimizer"; }

ShardMap::ShardMap(const ParameterLayout& layout, Sharding sharding, int64_t ranks)
    : buckets_(layout.buckets()), sharding_(sharding), ranks_(ranks) {
  for (ParameterKind kind : kParameterKinds) everything_.push_back(layout.whole(kind));
  for (const FlatRange& bucket : buckets_)
    ensure(bucket.kind == ParameterKind::Vector || bucket.count % ranks == 0, "shard_map",
           "a bucket of {} elements has no {} equal slices", bucket.count, ranks);
}

FlatRange ShardMap::slice(int64_t bucket, int64_t rank) const {
  const FlatRange& whole = buckets_.at(static_cast<size_t>(bucket));
  if (whole.kind == ParameterKind::Vector) return {whole.kind, whole.first, rank == 0 ? whole.count : 0};
  const int64_t count = whole.count / ranks_;
  return {whole.kind, whole.first + rank * count, count};
}

std::vector<FlatRange> ShardMap::owned(int64_t rank) const {
  if (ranks_ == 1) return everything_;
  std::vector<FlatRange> ranges;
  const auto add = [&](int64_t bucket) {
    if (const FlatRange range = slice(bucket, rank); range.count > 0) ranges.push_back(range);
  };
  const int64_t vectors = static_cast<int64_t>(buckets_.size()) - 1;
  for (int64_t bucket = vectors - 1; bucket >= 0; --bucket) add(bucket);
  add(vectors);
  return ranges;
}

std::vector<FlatRange> ShardMap::updated(int64_t rank) const {
  if (ranks_ == 1 || sharding_ == Sharding::None) return everything_;
  std::vector<FlatRange> ranges = owned(rank);
  std::erase_if(ranges, [](const FlatRange& range) { return range.kind == ParameterKind::Vector; });
  ranges.push_back(everything_.back());
  return ranges;
}

}  // namespace gta
