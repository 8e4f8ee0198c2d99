// The generator of every random number that reaches a model: counter-based, so that number i of the stream (seed, name)
// is a function of those three alone. Same bits on every machine and in every build: integer arithmetic, and a log and
// cos of our own compiled without contraction into fused multiply-adds.
#pragma once

#include <cstdint>
#include <string_view>

namespace gta {

class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view name);

  uint64_t bits(uint64_t index) const;   // 64 random bits (Philox 4x32-10)
  double uniform(uint64_t index) const;  // [0, 1)
  double normal(uint64_t index) const;   // mean 0, standard deviation 1 (Box-Muller)

 private:
  uint64_t key_;
};

}  // namespace gta
