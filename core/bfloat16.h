// bfloat16: the upper half of a float32. Rounds to nearest, ties to even; a NaN stays a NaN. Arithmetic happens in float.
#pragma once

#include <bit>
#include <cstdint>

namespace gta {

struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  explicit bfloat16(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    // Rounding would carry a NaN's mantissa over into the sign.
    const uint32_t rounded = value == value ? u + 0x7fffu + ((u >> 16) & 1u) : u | 0x400000u;
    bits = static_cast<uint16_t>(rounded >> 16);
  }
  explicit bfloat16(double value) : bfloat16(static_cast<float>(value)) {}
  explicit bfloat16(int value) : bfloat16(static_cast<float>(value)) {}
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

}  // namespace gta
