#include "data/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace gta {
namespace {

// splitmix64's finalizer.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

constexpr int64_t kMostShuffled = 1 << 16;

using Order = std::vector<uint16_t>;

Order shuffle(int64_t count, uint64_t seed, int64_t epoch) {
  Order order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const RandomStream random(seed, fmt::format("epoch {}", epoch));
  for (int64_t i = count - 1; i > 0; --i) {
    const auto at = static_cast<int64_t>(
        (static_cast<unsigned __int128>(random.bits(static_cast<uint64_t>(i))) * static_cast<uint64_t>(i + 1)) >> 64);
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(at)]);
  }
  return order;
}

}  // namespace

const char* name_of(SampleOrder order) { return order == SampleOrder::Network ? "network" : "shuffle"; }

// Of the epochs that were asked for last: who reads ahead is in the next one already.
struct Sampler::Shuffles {
  struct Kept {
    int64_t epoch = -1;
    Order order;
  };
  std::mutex mutex;
  std::array<Kept, 2> kept;
};

Sampler::Sampler(const std::vector<int64_t>& windows_per_shard, uint64_t seed)
    : starts_{0}, seed_(seed), shuffles_(std::make_shared<Shuffles>()) {
  for (int64_t windows : windows_per_shard) starts_.push_back(starts_.back() + windows);
  require(samples_per_epoch() > 0, "data",
          "the training shards hold no whole sample: lower data.sequence_length, add text, or set "
          "data.windows_across_shards");
  while ((int64_t{1} << (2 * half_bits_)) < samples_per_epoch()) ++half_bits_;
}

int64_t Sampler::shuffled(int64_t epoch, int64_t index) const {
  std::lock_guard lock(shuffles_->mutex);
  Shuffles::Kept& kept = shuffles_->kept[static_cast<size_t>(epoch % 2)];
  if (kept.epoch != epoch) kept = {epoch, shuffle(samples_per_epoch(), seed_, epoch)};
  return kept.order[static_cast<size_t>(index)];
}

int64_t Sampler::through_network(int64_t epoch, int64_t index, uint64_t rounds) const {
  const uint64_t key = mix(seed_ + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(epoch + 1)),
                 mask = (uint64_t{1} << half_bits_) - 1;
  auto value = static_cast<uint64_t>(index);
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (uint64_t round = 0; round < rounds; ++round) {
      const uint64_t next = left ^ (mix(key + right * 0x9e3779b97f4a7c15u + (round << 56)) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<uint64_t>(samples_per_epoch()));
  return static_cast<int64_t>(value);
}

Sampler::Position Sampler::at(int64_t sample) const {
  const int64_t total = samples_per_epoch(), epoch = sample / total, index = sample % total;
  const int64_t window = order_ == SampleOrder::Network ? through_network(epoch, index, 4)
                         : total <= kMostShuffled       ? shuffled(epoch, index)
                                                        : through_network(epoch, index, 8);
  const auto shard = std::upper_bound(starts_.begin(), starts_.end(), window) - starts_.begin() - 1;
  return {shard, window - starts_[shard]};
}

}  // namespace gta
