#include "checkpoints/exports/number_format.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/bfloat16.h"
#include "core/error.h"

namespace gta {
namespace {

// float16: one bit of sign, five of exponent (bias 15), ten of mantissa.
uint16_t to_half(float value) {
  constexpr uint32_t kInfinity = 0x7f800000, kHalfInfinity = 0x7c00, kQuiet = 0x200;
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > kInfinity) return sign | kHalfInfinity | kQuiet;
  constexpr float kBeyond = 65520.0F;  // half way between the largest, 65504, and the next power of two
  const float size = std::bit_cast<float>(magnitude);
  if (size >= kBeyond) return sign | kHalfInfinity;
  constexpr float kLeastNormal = 0x1p-14F, kUnit = 0x1p-24F;
  // Below the normal ones the numbers are multiples of one unit; above, the mantissa loses 13 bits.
  if (size < kLeastNormal) return sign | static_cast<uint16_t>(std::nearbyintf(size / kUnit));
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return sign | static_cast<uint16_t>((rounded >> 13) - ((127 - 15) << 10));
}

float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, exponent = (half >> 10) & 31u,
                 mantissa = half & 0x3ffu;
  if (exponent == 0) {
    const float size = static_cast<float>(mantissa) * 0x1p-24F;
    return sign ? -size : size;
  }
  const uint32_t wide = exponent == 31 ? 255u : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

}  // namespace

const char* name_of(NumberFormat format) {
  switch (format) {
    case NumberFormat::F32:
      return "float32";
    case NumberFormat::BF16:
      return "bfloat16";
    case NumberFormat::F16:
      return "float16";
  }
  ensure(false, "number_format", "no such format");
  return "";
}

NumberFormat number_format_named(const std::string& name) {
  for (NumberFormat format : kNumberFormats)
    if (name == name_of(format)) return format;
  bad_input("dtype", "expected float32, bfloat16 or float16, got '{}'", name);
}

int64_t bytes_of(NumberFormat format) { return format == NumberFormat::F32 ? 4 : 2; }

std::string encode(NumberFormat format, std::span<const float> values) {
  std::string bytes(values.size() * static_cast<size_t>(bytes_of(format)), '\0');
  if (values.empty()) return bytes;  // of which memcpy() may not be told
  if (format == NumberFormat::F32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = format == NumberFormat::BF16 ? bfloat16::rounded(values[i]) : to_half(values[i]);
    std::memcpy(bytes.data() + 2 * i, &half, sizeof half);
  }
  return bytes;
}

std::vector<float> decode(NumberFormat format, std::string_view bytes) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(bytes_of(format)));
  if (values.empty()) return values;
  if (format == NumberFormat::F32) {
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
    bfloat16 brain;
    brain.bits = half;
    values[i] = format == NumberFormat::BF16 ? static_cast<float>(brain) : from_half(half);
  }
  return values;
}

}  // namespace gta
