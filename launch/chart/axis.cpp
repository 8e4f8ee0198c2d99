#include "launch/chart/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace gta {
namespace {

// 1, 2 or 5 times a power of ten: some `about` of them in a span.
double step_of(double span, int about) {
  const double rough = span / about, power = std::pow(10, std::floor(std::log10(rough)));
  for (double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power * (1 + 1e-9)) return factor * power;
  return 10 * power;
}

std::string minus_sign(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, "\u2212");
  return text;
}

}  // namespace

bool has_place(double value, Scale scale) {
  constexpr double kLargest = 1e150;
  return std::abs(value) <= kLargest && (scale == Scale::Linear || value >= 1 / kLargest);
}

std::string axis_number(double value, int digits) {
  struct Unit {
    double size;
    const char* name;
  };
  constexpr Unit kUnits[] = {{1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  if (std::abs(value) >= 1e4 && std::abs(value) < 1e21)
    for (const Unit& unit : kUnits)
      if (std::abs(value) >= unit.size)
        return minus_sign(fmt::format("{:.{}g}{}", value / unit.size, digits, unit.name));
  return minus_sign(fmt::format("{:.{}g}", value == 0 ? 0 : value, std::max(6, digits)));
}

Axis::Axis(double low, double high, Scale scale, double from, double to)
    : low_(std::min(low, high)), high_(std::max(low, high)), scale_(scale), from_(from), to_(to) {
  if (scaled(high_) - scaled(low_) > 1e-12 * std::max(1.0, std::abs(scaled(high_)))) return;
  // One value alone: in the middle.
  if (scale_ == Scale::Logarithmic) {
    low_ /= 2;
    high_ *= 2;
  } else {
    const double room = low_ == 0 ? 1 : std::abs(low_) / 10;
    low_ -= room;
    high_ += room;
  }
}

double Axis::scaled(double value) const { return scale_ == Scale::Logarithmic ? std::log10(value) : value; }

double Axis::at(double value) const {
  return from_ + (scaled(value) - scaled(low_)) / (scaled(high_) - scaled(low_)) * (to_ - from_);
}

void Axis::widen_to_ticks(int about) {
  const double step = step_of(high_ - low_, about);
  low_ = std::floor(low_ / step + 1e-9) * step;
  high_ = std::ceil(high_ / step - 1e-9) * step;
}

std::vector<Axis::Tick> Axis::linear_ticks(int about) const {
  const double step = step_of(high_ - low_, about);
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  const double most = std::max(std::abs(low_), std::abs(high_));
  // So many that those of neighbours differ, and each is where it says.
  const int digits =
      std::max(4, 1 + static_cast<int>(std::floor(std::log10(most)) - std::floor(std::log10(step) + 1e-9)));
  std::vector<Tick> ticks;
  for (double n = std::ceil(low_ / step - 1e-9); n * step <= high_ + 1e-9 * step && ticks.size() < 100; ++n) {
    const double value = n == 0 ? 0 : n * step;
    ticks.push_back({value, most >= 1e4 || decimals > 6 ? axis_number(value, digits)
                                                        : minus_sign(fmt::format("{:.{}f}", value, decimals))});
  }
  return ticks;
}

std::vector<Axis::Tick> Axis::ticks(int about) const {
  // Between 2 and 10 lies 5 alone.
  if (scale_ == Scale::Linear || high_ < 5 * low_) return linear_ticks(about);
  const double decades = std::log10(high_ / low_);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / about)));
  std::vector<Tick> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low_))); power <= std::ceil(std::log10(high_)); ++power)
    for (double factor : {1.0, 2.0, 5.0}) {
      if (factor != 1 && decades > 2) continue;
      const double value = factor * std::pow(10, power);
      if (power % every == 0 && value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9))
        ticks.push_back({value, axis_number(value)});
    }
  return ticks;
}

}  // namespace gta
