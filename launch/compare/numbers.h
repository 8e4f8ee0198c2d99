// Numbers of a comparison as people read them.
#pragma once

#include <optional>
#include <string>

#include "launch/compare/comparison.h"

namespace gta {

// Four decimals; of what is smaller than 0.001 two digits that count. "-" where there is no number.
std::string short_number(double value);
std::string short_p(const std::optional<double>& p);     // "0.012", "< 0.0001", "-"
std::string with_interval(const Estimate& estimate);     // "3.4123 +- 0.0122", "3.4123" with one seed
std::string counted(size_t number, const char* things);  // "1 run", "3 runs"

// Of the variants of a table: the best one, and those of which it is not shown that they differ from it. Nothing where
// one seed, or one variant, can show nothing.
enum class Mark : uint8_t { None, Best, AsGoodAsBest };
Mark mark_of(const Comparison& comparison, const Variant& variant);

}  // namespace gta
