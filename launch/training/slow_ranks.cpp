#include "launch/training/slow_ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/comm/verdict.h"

namespace gta {
namespace {

constexpr int64_t kSteps = 20;
constexpr double kSlow = 1.5, kSecondsBetween = 60;
constexpr size_t kMostNamed = 4;

// The lower of the two in the middle.
double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::string SlowRanks::add(const std::vector<double>& computed_seconds, double now) {
  if (computed_seconds.size() < 2) return "";
  last_steps_.resize(computed_seconds.size(), std::vector<double>(kSteps));
  for (size_t rank = 0; rank < computed_seconds.size(); ++rank)
    last_steps_[rank][static_cast<size_t>(steps_ % kSteps)] = computed_seconds[rank];
  if (++steps_ < kSteps || (has_said_ && now - said_ < kSecondsBetween)) return "";

  std::vector<double> seconds;
  for (const std::vector<double>& of_rank : last_steps_) seconds.push_back(median(of_rank));
  const double usual = median(seconds);
  std::vector<std::pair<double, int64_t>> slow;  // negative seconds and rank: the slowest first, then by rank
  for (size_t rank = 0; rank < seconds.size(); ++rank)
    if (seconds[rank] > kSlow * usual) slow.emplace_back(-seconds[rank], static_cast<int64_t>(rank));
  if (slow.empty()) return "";
  said_ = now;
  has_said_ = true;
  std::sort(slow.begin(), slow.end());
  std::string text;
  for (size_t i = 0; i < std::min(slow.size(), kMostNamed); ++i) {
    const std::string name = rank_name(hosts_, slow[i].second);
    const double times = -slow[i].first / usual;
    text += i == 0
                ? fmt::format("{} takes {:.1f} times as long as the median of the ranks to compute a step", name, times)
                : fmt::format(", {} {:.1f} times", name, times);
  }
  if (const size_t more = slow.size() - std::min(slow.size(), kMostNamed); more > 0)
    text += fmt::format(", and {} more rank{} slow", more, more == 1 ? " is" : "s are");
  return text;
}

}  // namespace gta
