#include "launch/compare/difference.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "launch/statistics/holm.h"
#include "launch/statistics/paired.h"
#include "launch/statistics/power.h"

namespace gta {
namespace {

Finding finding_of(const Difference& d, double practical) {
  const size_t pairs = d.of_pairs.values.size();
  if (pairs == 0) return Finding::NoPair;
  if (pairs == 1) return Finding::OneSeed;
  const statistics::Interval& interval = *d.of_pairs.interval;
  if (interval.low > -practical && interval.high < practical) return Finding::PracticallyEqual;
  if (!(*d.p_t_holm < statistics::kLevel)) return Finding::NotShown;
  if (std::fabs(d.of_pairs.mean) < practical) return Finding::ShownButSmall;
  return d.of_pairs.mean < 0 ? Finding::Lower : Finding::Higher;
}

}  // namespace

Estimate::Estimate(std::map<int64_t, double> by_seed) : values(std::move(by_seed)) {
  std::erase_if(values, [](const auto& value) { return !std::isfinite(value.second); });
  const std::vector<double> numbers = list();
  mean = statistics::mean(numbers);
  deviation = statistics::deviation(numbers);
  interval = statistics::interval_of_mean(numbers);
}

std::vector<double> Estimate::list() const {
  std::vector<double> numbers;
  for (const auto& [seed, value] : values) numbers.push_back(value);
  return numbers;
}

const char* name_of(Finding finding) {
  switch (finding) {
    case Finding::NoPair:
      return "no pair";
    case Finding::OneSeed:
      return "one seed";
    case Finding::NotShown:
      return "not shown";
    case Finding::PracticallyEqual:
      return "practically equal";
    case Finding::ShownButSmall:
      return "shown but small";
    case Finding::Lower:
      return "lower";
    case Finding::Higher:
      return "higher";
  }
  return "?";
}

bool is_shown(Finding finding) {
  return finding == Finding::ShownButSmall || finding == Finding::Lower || finding == Finding::Higher;
}

Difference difference_between(const Estimate& variant, const Estimate& reference) {
  std::map<int64_t, double> differences;
  std::vector<double> of_variant, of_reference;
  for (const auto& [seed, value] : variant.values) {
    const auto other = reference.values.find(seed);
    if (other == reference.values.end()) continue;
    differences[seed] = value - other->second;
    of_variant.push_back(value);
    of_reference.push_back(other->second);
  }
  Difference d;
  d.of_pairs = Estimate(std::move(differences));
  const std::vector<double> pairs = d.of_pairs.list();
  d.p_sign_flip = statistics::sign_flip_p(pairs);
  d.p_t = statistics::paired_t_p(pairs);
  d.correlation = statistics::correlation(of_variant, of_reference);
  return d;
}

void conclude(const std::vector<Difference*>& differences, double practical) {
  std::vector<Difference*> tested;
  std::vector<double> by_signs, by_t;
  for (Difference* d : differences)
    if (d->p_t) {
      tested.push_back(d);
      by_signs.push_back(d->p_sign_flip);
      by_t.push_back(*d->p_t);
    }
  const std::vector<double> signs_corrected = statistics::holm(by_signs), t_corrected = statistics::holm(by_t);
  for (size_t i = 0; i < tested.size(); ++i) {
    tested[i]->p_holm = signs_corrected[i];
    tested[i]->p_t_holm = t_corrected[i];
  }
  for (Difference* d : differences) d->finding = finding_of(*d, practical);
}

void add_power(const std::vector<Difference*>& differences) {
  const auto tested =
      std::count_if(differences.begin(), differences.end(), [](const Difference* d) { return d->p_t.has_value(); });
  const double corrected = statistics::kLevel / static_cast<double>(std::max<int64_t>(1, tested));
  for (Difference* d : differences) {
    if (!d->p_t) continue;
    const double mean = d->of_pairs.mean, deviation = d->of_pairs.deviation;
    const auto pairs = static_cast<int64_t>(d->of_pairs.values.size());
    d->smallest_shown = statistics::smallest_shown(deviation, pairs);
    d->seeds_needed = statistics::pairs_needed(mean, deviation);
    d->smallest_shown_corrected = statistics::smallest_shown(deviation, pairs, statistics::kPower, corrected);
    d->seeds_needed_corrected = statistics::pairs_needed(mean, deviation, statistics::kPower, corrected);
  }
}

}  // namespace gta
