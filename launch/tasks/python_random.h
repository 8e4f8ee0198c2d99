// Python's random.Random, as far as lm-evaluation-harness draws examples with it: Mersenne Twister (std::mt19937) whose
// state random.seed() fills in a way of its own (init_by_array of the seed's words, Matsumoto and Nishimura 2002).
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace gta::python {

class Random {
 public:
  explicit Random(uint32_t seed);

  // random.sample(range(population), count). Needs 0 <= count <= population < 2^32.
  std::vector<int64_t> sample(int64_t population, int64_t count);

 private:
  int64_t below(int64_t limit);  // from 0 to limit - 1, of limit at least 1
  std::mt19937 engine_;
};

}  // namespace gta::python
