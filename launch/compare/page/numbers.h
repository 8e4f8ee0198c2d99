// Numbers as the page writes them: no line is broken within one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "launch/compare/comparison.h"
#include "launch/markup.h"

namespace gta::page {

inline constexpr const char* kNoNumber = "\u2013";  // what is written where none is known

std::string fixed(double value, int decimals);         // "3.2051", with a minus sign that is one
std::string signed_fixed(double value, int decimals);  // "+0.0012"
std::string grouped(int64_t value);                    // "2,934,528"
std::string in_units(double value);                    // "17.6 M"
std::string p_value(double p);                         // "0.0312", "< 0.0001"

using NumberText = std::function<std::string(double)>;
NumberText decimals(int count);

// "3.2051 ± 0.0042": the mean, and half of its 95% interval where it has one.
Markup mean_and_interval(const Estimate& estimate, const NumberText& text);
// "3.2051 [3.2009, 3.2093]"
std::string in_brackets(const statistics::Interval& interval, const NumberText& text);

}  // namespace gta::page
