// What a comparison looks like on a terminal.
#pragma once

#include <string>

#include "launch/compare/comparison.h"

namespace gta {

// In words, as a table, with what makes it unfair, what a reader should know, and the runs that are left out.
std::string comparison_text(const Comparison& comparison);

}  // namespace gta
