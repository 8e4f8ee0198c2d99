#include "data/sampler.h"

#include <algorithm>

#include "core/error.h"

namespace gta {
namespace {

// splitmix64's finalizer.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

Sampler::Sampler(const std::vector<int64_t>& windows_per_shard, uint64_t seed) : starts_{0}, seed_(seed) {
  for (int64_t windows : windows_per_shard) starts_.push_back(starts_.back() + windows);
  require(samples_per_epoch() > 0, "data",
          "the training shards hold no whole sample: lower data.sequence_length, add text, or set "
          "data.windows_across_shards");
  while ((int64_t{1} << (2 * half_bits_)) < samples_per_epoch()) ++half_bits_;
}

Sampler::Position Sampler::at(int64_t sample) const {
  const int64_t total = samples_per_epoch();
  const uint64_t key = mix(seed_ + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(sample / total + 1)),
                 mask = (uint64_t{1} << half_bits_) - 1;
  auto value = static_cast<uint64_t>(sample % total);
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (mix(key + right * 0x9e3779b97f4a7c15u + (round << 56)) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<uint64_t>(total));
  const auto window = static_cast<int64_t>(value);
  const auto shard = std::upper_bound(starts_.begin(), starts_.end(), window) - starts_.begin() - 1;
  return {shard, window - starts_[shard]};
}

}  // namespace gta
