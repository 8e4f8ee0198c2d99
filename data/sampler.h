// Which window of which shard is sample number n: a keyed permutation of all windows, another one each epoch, so that
// the sampler's whole state is one integer, every window comes exactly once per epoch, and the order does not depend on
// the number of ranks.
//
// The permutation is a four-round Feistel network over the smallest even number of bits that holds the windows; values
// beyond them walk on through the network until they land inside (Black and Rogaway, "Ciphers with arbitrary finite
// domains", 2002).
#pragma once

#include <cstdint>
#include <vector>

namespace gta {

class Sampler {
 public:
  Sampler(const std::vector<int64_t>& windows_per_shard, uint64_t seed);
  struct Position {
    int64_t shard, window;
  };
  Position at(int64_t sample) const;  // sample >= 0, without end
  int64_t samples_per_epoch() const { return starts_.back(); }

 private:
  std::vector<int64_t> starts_;  // first window of each shard, and their total
  uint64_t seed_;
  int half_bits_ = 1;
};

}  // namespace gta
