#include "launch/compare/page/numbers.h"

#include <fmt/format.h>

#include <cmath>

namespace gta::page {
namespace {

std::string with_minus(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, "\u2212");
  return text;
}

// Of a number whose digits are all 0 the sign is left out.
bool is_zero(const std::string& text) { return text.find_first_of("123456789") == std::string::npos; }

}  // namespace

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return kNoNumber;
  std::string text = std::abs(value) < 1e15 ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.6g}", value);
  if (is_zero(text) && text.starts_with('-')) text.erase(0, 1);
  return with_minus(text);
}

std::string signed_fixed(double value, int decimals) {
  const std::string text = fixed(value, decimals);
  return std::isfinite(value) && value > 0 && !is_zero(text) ? "+" + text : text;
}

std::string grouped(int64_t value) {
  std::string digits = fmt::format("{}", value);
  const size_t first = digits.starts_with('-') ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return with_minus(digits);
}

std::string in_units(double value) {
  if (!std::isfinite(value)) return kNoNumber;
  constexpr const char* kUnits[] = {"", "\u00a0k", "\u00a0M", "\u00a0G", "\u00a0T", "\u00a0P", "\u00a0E", "\u00a0Z"};
  size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 && value == std::floor(value) ? 0
                       : std::abs(value) < 10                  ? 2
                       : std::abs(value) < 100                 ? 1
                                                               : 0;
  return fixed(value, decimals) + kUnits[unit];
}

std::string p_value(double p) {
  if (!std::isfinite(p)) return kNoNumber;
  return p < 1e-4 ? "<\u00a00.0001" : fmt::format("{:.3g}", p);
}

NumberText decimals(int count) {
  return [count](double value) { return fixed(value, count); };
}

Markup mean_and_interval(const Estimate& estimate, const NumberText& text) {
  if (!std::isfinite(estimate.mean)) return kNoNumber;
  Markup all = text(estimate.mean);
  if (estimate.interval)
    all +=
        element("span", {{"class", "pm"}}, {" \u00b1 " + text((estimate.interval->high - estimate.interval->low) / 2)});
  return all;
}

std::string in_brackets(const statistics::Interval& interval, const NumberText& text) {
  return "[" + text(interval.low) + ", " + text(interval.high) + "]";
}

}  // namespace gta::page
