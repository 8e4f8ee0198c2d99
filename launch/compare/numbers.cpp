#include "launch/compare/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace gta {

std::string short_number(double value) {
  if (!std::isfinite(value)) return "-";
  const double size = std::fabs(value);
  if (size == 0 || (size >= 0.001 && size < 1e5)) return fmt::format("{:.4f}", value);
  return fmt::format("{:.2g}", value);
}

std::string short_p(const std::optional<double>& p) {
  if (!p || !std::isfinite(*p)) return "-";
  return *p < 1e-4 ? "< 0.0001" : fmt::format("{:.2g}", *p);
}

std::string with_interval(const Estimate& estimate) {
  if (!estimate.interval) return short_number(estimate.mean);
  return fmt::format("{} +- {}", short_number(estimate.mean),
                     short_number((estimate.interval->high - estimate.interval->low) / 2));
}

std::string counted(size_t number, const char* things) {
  return fmt::format("{} {}{}", number, things, number == 1 ? "" : "s");
}

Mark mark_of(const Comparison& comparison, const Variant& variant) {
  const bool several = std::all_of(comparison.variants.begin(), comparison.variants.end(),
                                   [](const Variant& v) { return v.runs.size() > 1; });
  if (comparison.variants.size() < 2 || !several) return Mark::None;
  return variant.best ? Mark::Best : variant.as_good_as_best ? Mark::AsGoodAsBest : Mark::None;
}

}  // namespace gta
