#include "launch/tasks/python_random.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "core/error.h"

namespace gta::python {
namespace {

// std::mt19937 takes its state from a seed sequence as it is: here init_by_array({seed}).
struct InitByArray {
  using result_type = uint32_t;
  uint32_t seed;

  template <class Iterator>
  void generate(Iterator first, Iterator last) const {
    const auto words = static_cast<uint32_t>(last - first);
    const auto mixed = [&](uint32_t i, uint32_t factor) { return (first[i - 1] ^ (first[i - 1] >> 30)) * factor; };
    first[0] = 19650218;
    for (uint32_t i = 1; i < words; ++i) first[i] = mixed(i, 1812433253) + i;
    uint32_t i = 1;
    const auto next = [&] {
      if (++i < words) return;
      first[0] = first[words - 1];
      i = 1;
    };
    for (uint32_t step = 0; step < words; ++step, next()) first[i] = (first[i] ^ mixed(i, 1664525)) + seed;
    for (uint32_t step = 1; step < words; ++step, next()) first[i] = (first[i] ^ mixed(i, 1566083941)) - i;
    first[0] = 0x80000000;
  }
};

std::mt19937 engine_of(uint32_t seed) {
  InitByArray state{seed};
  return std::mt19937(state);
}

}  // namespace

Random::Random(uint32_t seed) : engine_(engine_of(seed)) {}

// As many bits as limit has, until they are below it.
int64_t Random::below(int64_t limit) {
  const int bits = std::bit_width(static_cast<uint64_t>(limit));
  for (;;) {
    const auto drawn = static_cast<int64_t>(engine_() >> (32 - bits));
    if (drawn < limit) return drawn;
  }
}

std::vector<int64_t> Random::sample(int64_t population, int64_t count) {
  ensure(count >= 0 && count <= population && population < int64_t{1} << 32, "sample", "{} of {}", count, population);
  std::vector<int64_t> drawn;
  // A list of all where that is smaller than a set of the drawn ones: which of both decides what is drawn.
  const double set_size =
      21 + (count > 5 ? std::pow(4, std::ceil(std::log(3 * static_cast<double>(count)) / std::log(4.0))) : 0);
  if (static_cast<double>(population) <= set_size) {
    std::vector<int64_t> left(static_cast<size_t>(population));
    std::iota(left.begin(), left.end(), 0);
    while (static_cast<int64_t>(drawn.size()) < count) {
      const auto at = static_cast<size_t>(below(static_cast<int64_t>(left.size())));
      drawn.push_back(left[at]);
      left[at] = left.back();
      left.pop_back();
    }
    return drawn;
  }
  std::unordered_set<int64_t> taken;
  while (static_cast<int64_t>(drawn.size()) < count)
    if (const int64_t at = below(population); taken.insert(at).second) drawn.push_back(at);
  return drawn;
}

}  // namespace gta::python
