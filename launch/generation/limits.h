// What numbers of a request may be, on the command line and in a file of prompts.
#pragma once

#include <cstdint>

namespace gta {

inline constexpr int64_t kMostTokens = 1'000'000'000'000'000, kLargestSeed = 9'000'000'000'000'000;
inline constexpr double kHighestTemperature = 1000;
// Beyond them logits would not stay finite, or nothing else would count.
inline constexpr double kLeastPenalty = 0.01, kMostPenalty = 100;

}  // namespace gta
