// bfloat16: the upper half of a float32. Rounds to nearest, ties to even; a NaN stays a NaN. Arithmetic happens in
// float.
#pragma once

#include <bit>
#include <cstdint>

namespace gta {

struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  explicit bfloat16(float value) : bits(rounded(value)) {}
  explicit bfloat16(double value) : bfloat16(static_cast<float>(value)) {}
  explicit bfloat16(int value) : bfloat16(static_cast<float>(value)) {}
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

  static uint16_t rounded(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    // Rounding would carry a NaN's mantissa over into the sign.
    return static_cast<uint16_t>((value == value ? u + 0x7fffu + ((u >> 16) & 1u) : u | 0x400000u) >> 16);
  }
};

// to = value, rounded. What loops over elements store with: assigning a whole bfloat16 keeps a compiler from using
// vectors.
inline void store(bfloat16& to, float value) { to.bits = bfloat16::rounded(value); }
inline void store(float& to, float value) { to = value; }
inline void store(float& to, double value) { to = static_cast<float>(value); }
inline void store(double& to, double value) { to = value; }
inline void store(bfloat16& to, double value) { store(to, static_cast<float>(value)); }

}  // namespace gta
