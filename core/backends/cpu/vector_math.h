// exp and sigmoid that the vectoriser can use in a loop: float by a polynomial (relative error below 2e-7), double by
// the library.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace gta::cpu {

// e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln2/2. Below -87 the result is 0-ish (flushed to e^-87), above 88 it is
// e^88; NaN stays NaN.
inline float fast_exp(float x) {
  const float clamped = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  // Adding 1.5 * 2^23 rounds to an integer that stands in the low mantissa bits.
  const float shifted = clamped * 1.44269504088896341f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(12582912.0f)) << 23;
  // A NaN's low bits would reach the exponent and could make a number of it.
  return x == x ? std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent) : x;
}

inline double fast_exp(double x) { return std::exp(x); }

template <class T>
inline T sigmoid(T x) {
  return T{1} / (T{1} + fast_exp(-x));
}

}  // namespace gta::cpu
