// Which window of which shard is sample number n: a permutation of all windows, another one each epoch, so that the
// sampler's whole state is one integer, every window comes exactly once per epoch, and the order does not depend on the
// number of ranks.
//
// Up to 2^16 windows are shuffled (Fisher and Yates); the orders of two epochs are kept. More are permuted by an
// eight-round Feistel network over the smallest even number of bits that holds them; values beyond them walk on through
// the network until they land inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace gta {

// A run goes on in the order that it began with. Network: of earlier builds, four rounds for any number of windows,
// which of a few thousand puts neighbours one after the other too often.
enum class SampleOrder : uint8_t { Network, Shuffle };
const char* name_of(SampleOrder order);  // "network", "shuffle"

class Sampler {
 public:
  Sampler(const std::vector<int64_t>& windows_per_shard, uint64_t seed);
  struct Position {
    int64_t shard, window;
  };
  Position at(int64_t sample) const;  // sample >= 0, without end; safe from any thread
  int64_t samples_per_epoch() const { return starts_.back(); }
  void set_order(SampleOrder order) { order_ = order; }

 private:
  struct Shuffles;
  int64_t shuffled(int64_t epoch, int64_t index) const;
  int64_t through_network(int64_t epoch, int64_t index, uint64_t rounds) const;

  std::vector<int64_t> starts_;  // first window of each shard, and their total
  uint64_t seed_;
  int half_bits_ = 1;
  SampleOrder order_ = SampleOrder::Shuffle;
  std::shared_ptr<Shuffles> shuffles_;
};

}  // namespace gta
