#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace gta {
namespace {

constexpr int64_t kLongestPeriod = int64_t{1} << 20;
// Rounding errors of a share times the period stay below half of this; a ratio that is only near integers drifts by no
// more than this many samples a period.
constexpr double kNear = 1e-9;

// The shares of the weights; each is at least one part of the longest period.
std::vector<double> shares_of(const std::vector<MixtureSource>& sources) {
  long double total = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    const double weight = sources[i].weight;
    require(std::isfinite(weight) && weight > 0, "data.train", "source {} has weight {}: expected a positive number", i,
            weight);
    total += weight;
  }
  std::vector<double> shares;
  for (size_t i = 0; i < sources.size(); ++i) {
    shares.push_back(static_cast<double>(sources[i].weight / total));
    require(shares[i] * kLongestPeriod >= 1, "data.train",
            "source {} with weight {} is less than one of {} samples: leave it out or raise it", i, sources[i].weight,
            kLongestPeriod);
  }
  return shares;
}

std::vector<int64_t> parts_of(const std::vector<double>& shares) {
  std::vector<int64_t> parts(shares.size());
  for (int64_t period = 1; period <= kLongestPeriod; ++period) {
    const bool whole = std::all_of(shares.begin(), shares.end(), [&](double share) {
      const double part = share * static_cast<double>(period);
      return part > 0.5 && std::abs(part - std::round(part)) <= kNear;
    });
    if (!whole) continue;
    std::transform(shares.begin(), shares.end(), parts.begin(),
                   [&](double share) { return std::llround(share * static_cast<double>(period)); });
    return parts;
  }
  // Rounded down, and one more for the largest remainders until the sum is right.
  std::vector<size_t> order(shares.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i < shares.size(); ++i) parts[i] = static_cast<int64_t>(shares[i] * kLongestPeriod);
  const auto remainder = [&](size_t i) { return shares[i] * kLongestPeriod - static_cast<double>(parts[i]); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return remainder(a) > remainder(b); });
  const int64_t missing = kLongestPeriod - std::accumulate(parts.begin(), parts.end(), int64_t{0});
  for (int64_t i = 0; i < missing; ++i) ++parts[order[i]];
  return parts;
}

}  // namespace

Mixture::Schedule Mixture::make_schedule(std::vector<int64_t> parts) {
  const int64_t period = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  std::vector<int64_t> counts(parts.size());
  std::vector<Slot> slots;
  slots.reserve(period);
  for (int64_t s = 0; s < period; ++s) {
    // Products stay below 2^41. The first source with room is always there: the counts add up to s, the rooms to s + 1.
    int64_t best = -1;
    for (int64_t i = 0; i < static_cast<int64_t>(parts.size()); ++i)
      if (counts[i] * period < (s + 1) * parts[i] &&
          (best < 0 || (counts[i] + 1) * parts[best] < (counts[best] + 1) * parts[i]))
        best = i;
    slots.push_back({static_cast<int32_t>(best), static_cast<int32_t>(counts[best]++)});
  }
  return {std::move(parts), std::move(slots)};
}

Mixture::Mixture(const std::vector<MixtureSource>& sources, uint64_t seed) {
  require(!sources.empty(), "data.train", "expected at least one source");
  int64_t shard = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::vector<int64_t>& windows = sources[i].windows_per_shard;
    require(sources.size() == 1 || std::any_of(windows.begin(), windows.end(), [](int64_t count) { return count > 0; }),
            "data.train",
            "source {} holds no whole sample: lower data.sequence_length, add text, set data.windows_across_shards, or "
            "leave it out",
            i);
    // Sources of one size are not to be shuffled alike; the first one is shuffled as it is alone.
    samplers_.emplace_back(windows, i == 0 ? seed : RandomStream(seed, "data.train").bits(i));
    first_shard_.push_back(shard);
    shard += static_cast<int64_t>(windows.size());
  }
  schedule_ = std::make_shared<const Schedule>(make_schedule(parts_of(shares_of(sources))));
}

Mixture::Position Mixture::at(int64_t sample) const {
  const auto [source, earlier] = schedule_->slots[sample % period()];
  const Sampler::Position position = samplers_[source].at(sample / period() * parts(source) + earlier);
  return {source, first_shard_[source] + position.shard, position.window};
}

int64_t Mixture::count(int64_t source, int64_t samples) const {
  // As many as come before the source's next slot of this period, or all of the period's.
  const auto slot = std::find_if(schedule_->slots.begin() + samples % period(), schedule_->slots.end(),
                                 [&](const Slot& candidate) { return candidate.source == source; });
  return samples / period() * parts(source) + (slot == schedule_->slots.end() ? parts(source) : slot->earlier);
}

}  // namespace gta
