#include "launch/statistics/paired.h"

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "launch/statistics/distributions.h"

namespace gta::statistics {
namespace {

// Of every choice of signs for values[first, last).
std::vector<double> signed_sums(const std::vector<double>& values, size_t first, size_t last) {
  std::vector<double> sums{0};
  for (size_t i = first; i < last; ++i) {
    const size_t count = sums.size();
    for (size_t k = 0; k < count; ++k) {
      sums.push_back(sums[k] - values[i]);
      sums[k] += values[i];
    }
  }
  return sums;
}

}  // namespace

double sign_flip_p(const std::vector<double>& differences, uint64_t seed) {
  if (differences.empty()) return 1;
  double sum = 0, size = 0;
  for (double d : differences) {
    sum += d;
    size += std::abs(d);
  }
  // Sums that are equal but for the order in which they were added up count as equal.
  const double seen = std::abs(sum) - 1e-12 * size;
  const auto pairs = static_cast<int64_t>(differences.size());
  int64_t as_far = 0;
  if (pairs <= kMostExactPairs) {
    // The first keeps its sign: all signs turned give the same distance from 0.
    const size_t half = 1 + (differences.size() - 1) / 2;
    std::vector<double> of_first = signed_sums(differences, 1, half);
    for (double& s : of_first) s += differences[0];
    const std::vector<double> of_rest = signed_sums(differences, half, differences.size());
    for (double a : of_first)
      for (double b : of_rest) as_far += std::abs(a + b) >= seen;
    return static_cast<double>(as_far) / (static_cast<double>(of_first.size()) * static_cast<double>(of_rest.size()));
  }
  const RandomStream random(seed, "sign flips");
  const int64_t words = (pairs + 63) / 64;
  for (int64_t n = 0; n < kSampledSums; ++n) {
    double flipped = 0;
    for (int64_t w = 0; w < words; ++w) {
      uint64_t bits = random.bits(static_cast<uint64_t>(n * words + w));
      for (int64_t i = w * 64; i < std::min(pairs, (w + 1) * 64); ++i, bits >>= 1)
        flipped += bits & 1 ? differences[static_cast<size_t>(i)] : -differences[static_cast<size_t>(i)];
    }
    as_far += std::abs(flipped) >= seen;
  }
  // The signs that were seen are one of the choices.
  return static_cast<double>(as_far + 1) / static_cast<double>(kSampledSums + 1);
}

std::optional<double> paired_t_p(const std::vector<double>& differences) {
  if (differences.size() < 2) return std::nullopt;
  const double m = mean(differences), s = deviation(differences), n = static_cast<double>(differences.size());
  if (s == 0) return m == 0 ? 1.0 : 0.0;
  return t_two_sided(m * std::sqrt(n) / s, n - 1);
}

}  // namespace gta::statistics
