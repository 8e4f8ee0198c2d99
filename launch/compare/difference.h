// What is said of a variant's numbers over seeds, and of how far they are from another's: pair by pair, with intervals,
// and what of it is shown.
//
//   d_s = variant's x_s - reference's x_s, for each seed s that both have;  interval  m +- t(0.975, S - 1) s / sqrt(S)
//   shown: Student's p after Holm's correction over all comparisons is below 0.05
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/statistics/sample.h"

namespace gta {

inline constexpr double kPracticalDifference = 0.005;  // nats

// A number over the seeds of a variant.
struct Estimate {
  std::map<int64_t, double> values;              // by seed; those that are numbers
  double mean = 0, deviation = 0;                // NaN of too few
  std::optional<statistics::Interval> interval;  // of the mean, 95%

  explicit Estimate(std::map<int64_t, double> by_seed = {});
  std::vector<double> list() const;
};

enum class Finding : uint8_t {
  NoPair,            // no seed in common
  OneSeed,           // nothing can be shown
  NotShown,          // the interval holds 0, or does after Holm's correction
  PracticallyEqual,  // the whole interval is closer to 0 than practical_difference
  ShownButSmall,     // shown, and smaller than practical_difference
  Lower,
  Higher
};
const char* name_of(
    Finding finding);            // "no pair", "one seed", "not shown", "practically equal", "shown but small", ...
bool is_shown(Finding finding);  // the last three

// A variant's numbers less the reference's.
struct Difference {
  Estimate of_pairs;
  double p_sign_flip = 1, p_holm = 1;    // the second: sign flips, after Holm's correction
  std::optional<double> p_t, p_t_holm;   // Student's t, on which the finding rests
  std::optional<double> correlation;     // of the two over seeds
  std::optional<double> smallest_shown;  // with 80% power, as if it were the only comparison
  std::optional<int64_t> seeds_needed;   // to show the difference seen, likewise
  // The same at 0.05 / comparisons, the least that Holm's correction can ask for.
  std::optional<double> smallest_shown_corrected;
  std::optional<int64_t> seeds_needed_corrected;
  Finding finding = Finding::NoPair;
};

// Without corrections, finding and what it would take to show it.
Difference difference_between(const Estimate& variant, const Estimate& reference);
// Corrects all of them for each other, and finds what they show. practical: what is too small to matter.
void conclude(const std::vector<Difference*>& differences, double practical);
// What so many pairs could have shown, and how many would show the difference seen.
void add_power(const std::vector<Difference*>& differences);

}  // namespace gta
