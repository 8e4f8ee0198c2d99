#include "launch/compare/words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "launch/compare/numbers.h"
#include "launch/statistics/paired.h"
#include "launch/statistics/power.h"

namespace gta {
namespace {

constexpr size_t kFewPairs = 5;  // whose sign flips cannot show anything at 0.05

std::string interval_text(const statistics::Interval& interval) {
  return fmt::format("{} to {}", short_number(interval.low), short_number(interval.high));
}

std::string seeds_text(const std::set<int64_t>& seeds) {
  constexpr size_t kMost = 8;
  if (seeds.size() > kMost) return fmt::format("{} seeds", seeds.size());
  return fmt::format("seed{} {}", seeds.size() == 1 ? "" : "s", fmt::join(seeds, ", "));
}

// What it would take, of a difference that is not shown.
std::string needs_text(const Difference& d) {
  const size_t pairs = d.of_pairs.values.size();
  std::string text;
  if (d.seeds_needed_corrected) {
    const auto more = *d.seeds_needed_corrected - static_cast<int64_t>(pairs);
    text = fmt::format(" To show a difference of this size with {:.0f}% power takes {} seeds, {} more than there are;",
                       100 * statistics::kPower, *d.seeds_needed_corrected, more);
  } else {
    text = fmt::format(" A difference of this size would not be shown by {} seeds;", statistics::kMostPairs);
  }
  if (d.smallest_shown_corrected)
    text += fmt::format(" the smallest that these {} could have shown is {}.", pairs,
                        short_number(*d.smallest_shown_corrected));
  return text;
}

std::string sentence(const Comparison& c, const Variant& variant) {
  const Difference& d = *variant.difference;
  if (d.finding == Finding::NoPair)
    return fmt::format("{} ends at {} and has no seed in common with the baseline: nothing is said of a difference.",
                       variant.name, short_number(c.measured(variant).mean));
  const double mean = d.of_pairs.mean;
  std::string text = mean == 0 ? fmt::format("{} ends where the baseline does", variant.name)
                               : fmt::format("{} ends {} {}", variant.name, short_number(std::fabs(mean)),
                                             mean < 0 ? "lower" : "higher");
  if (d.finding == Finding::OneSeed) return text + " with one seed, which shows nothing.";
  text += fmt::format(" ({:.0f}% interval {}; p {}{}): ", 100 * statistics::kConfidence,
                      interval_text(*d.of_pairs.interval), *d.p_t_holm < 1e-4 ? "" : "= ", short_p(d.p_t_holm));
  const std::string practical = short_number(c.practical_difference);
  switch (d.finding) {
    case Finding::Lower:
    case Finding::Higher:
      return text + "a difference is shown.";
    case Finding::ShownButSmall:
      return text + "a difference is shown, and it is below " + practical + ", which counts as practically equal.";
    case Finding::PracticallyEqual:
      return text + "practically equal, the whole interval being within " + practical + " of zero.";
    default:
      return text + "no difference is shown." + needs_text(d);
  }
}

std::string basis(const Comparison& c) {
  size_t fewest = 0;
  bool any = false;
  for (const Variant& variant : c.variants)
    if (variant.difference && variant.difference->p_t) {
      const size_t pairs = variant.difference->of_pairs.values.size();
      fewest = any ? std::min(fewest, pairs) : pairs;
      any = true;
    }
  if (!any) return "";
  std::string text =
      " Differences are taken seed by seed; p is Student's, after Holm's correction for the number of comparisons.";
  if (fewest <= kFewPairs)
    text += fmt::format(
        " With {} pairs the signs alone could not give a p below {:.3g}: what is shown rests on differences being "
        "distributed normally.",
        fewest, statistics::smallest_sign_flip_p(static_cast<int64_t>(fewest)));
  return text;
}

}  // namespace

std::string words_of(const Comparison& c) {
  std::set<int64_t> seeds;
  for (const Variant& variant : c.variants)
    for (const size_t run : variant.runs) seeds.insert(c.runs[run].config.seed);
  const Variant& baseline = c.baseline();
  const Estimate& base = c.measured(baseline);
  std::string text;
  if (seeds.size() == 1) text = "One seed: nothing is shown. ";
  text += fmt::format("{}, {}. {} ends at {} {}{}", counted(c.variants.size(), "variant"), seeds_text(seeds),
                      c.variants.size() > 1 ? "The baseline " + baseline.name : baseline.name, short_number(base.mean),
                      unit_of(c.measure),
                      base.interval ? fmt::format(" ({:.0f}% interval {})", 100 * statistics::kConfidence,
                                                  interval_text(*base.interval))
                                    : "");
  text += " of the validation set.";
  for (const Variant& variant : c.variants)
    if (variant.difference) text += " " + sentence(c, variant);
  text += basis(c);
  const auto left_out = static_cast<size_t>(
      std::count_if(c.cells.begin(), c.cells.end(), [](const Cell& cell) { return !cell.reason.empty(); }));
  if (left_out > 0)
    text += fmt::format(" {} left out, with the reason.", counted(left_out, "run") + (left_out == 1 ? " is" : " are"));
  if (!c.fair())
    text += fmt::format(" The comparison is not fair: {} named.",
                        counted(c.problems.size(), "problem") + (c.problems.size() == 1 ? " is" : " are"));
  return text;
}

}  // namespace gta
