// Whether runs differ in nothing but what is compared: seen from their own files, and named with runs and values.
#pragma once

#include <vector>

#include "launch/compare/comparison.h"

namespace gta {

// Error(BadInput) naming runs and values where those that count cannot be compared: of one tokenizer, and trained
// on other data, or scored on other tokens.
void require_comparable(const Comparison& comparison);

// Adds what is unfair to the problems, and what should be known to the notes. Expects all else of the comparison.
void check_fairness(Comparison& comparison);

}  // namespace gta
