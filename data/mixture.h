// Which source, and which of its windows, is sample number n of a mixture: in closed form from n, so that the sampler's
// whole state stays one integer.
//
// The weights become parts_i, the smallest integers in their ratio; P = sum of the parts is the period. The slots of
// one period are given to the sources once, at the start. Then, with q = n / P and s = n mod P,
//
//   source(n) = slot[s]      index(n) = q parts_source + earlier[s]      earlier[s]: slots before s of the same source
//
// and the window is the source's own permutation (sampler.h) of index(n), in its epoch index(n) / samples_i. For
// every n and every source i, with count_i(n) the samples of source i among the first n:
//
//   - |count_i(n) - n parts_i / P| < 1: the proportions hold within one sample after every sample, hence in every
//     batch within two;
//   - index counts 0, 1, 2, ... in each source: each of its windows comes exactly once in each of its epochs;
//   - nothing depends on ranks, or on where a run began. One source alone has P = 1 and index(n) = n.
//
// Slot s goes, of the sources with count_i(s) < (s + 1) parts_i / P, to the one with the least (count_i(s) + 1) /
// parts_i; the first of equals (Balinski and Young, "The quota method of apportionment", 1975). The condition keeps a
// source from being one ahead. None falls one behind, because slots are unit jobs scheduled by earliest deadline: job c
// of source i fits into slots [floor(c P / parts_i), ceil((c + 1) P / parts_i)), and no more than b - a jobs have to
// lie within any [a, b).
//
// Weights in no ratio of integers whose sum is up to 2^20 are rounded to that sum: shares within 2^-20.
#pragma once

#include <memory>

#include "data/sampler.h"

namespace gta {

struct MixtureSource {
  std::vector<int64_t> windows_per_shard;
  double weight = 1;
};

class Mixture {
 public:
  // Error(BadInput) naming the source by its number: without a whole sample, with a weight that is not positive and
  // finite, or with a share below 2^-20.
  Mixture(const std::vector<MixtureSource>& sources, uint64_t seed);

  struct Position {
    // shards (or what else windows are cut from, loader.h) count on from source to source
    int64_t source, shard, window;
  };
  Position at(int64_t sample) const;                     // sample >= 0, without end
  int64_t count(int64_t source, int64_t samples) const;  // of the source among the first `samples`

  void set_order(SampleOrder order) {
    for (Sampler& sampler : samplers_) sampler.set_order(order);
  }

  int64_t sources() const { return static_cast<int64_t>(samplers_.size()); }
  int64_t samples_per_epoch(int64_t source) const { return samplers_[source].samples_per_epoch(); }
  int64_t first_shard(int64_t source) const { return first_shard_[source]; }
  int64_t parts(int64_t source) const { return schedule_->parts[source]; }
  int64_t period() const { return static_cast<int64_t>(schedule_->slots.size()); }

 private:
  struct Slot {
    int32_t source, earlier;
  };
  struct Schedule {
    std::vector<int64_t> parts;
    std::vector<Slot> slots;
  };
  static Schedule make_schedule(std::vector<int64_t> parts);

  std::vector<Sampler> samplers_;
  std::vector<int64_t> first_shard_;
  std::shared_ptr<const Schedule> schedule_;  // shared: copies of a mixture are made
};

}  // namespace gta
