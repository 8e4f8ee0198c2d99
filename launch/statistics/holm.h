// Holm's step-down correction: p-values that may be compared with a level as if each were the only one, while the
// chance of any false finding among all of them stays below it. Of p_(1) <= .. <= p_(m): max over i <= k of
// (m - i + 1) p_(i), at most 1.
#pragma once

#include <vector>

namespace gta::statistics {

std::vector<double> holm(const std::vector<double>& p_values);  // in their order

}  // namespace gta::statistics
