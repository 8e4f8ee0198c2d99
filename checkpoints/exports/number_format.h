// How exported weights are written, and read back.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gta {

enum class NumberFormat : uint8_t { F32, BF16, F16 };
inline constexpr std::array kNumberFormats = {NumberFormat::F32, NumberFormat::BF16, NumberFormat::F16};

const char* name_of(NumberFormat format);  // "float32", "bfloat16", "float16", as users and config.json have it
NumberFormat number_format_named(const std::string& name);
int64_t bytes_of(NumberFormat format);  // of one number

// Rounded to the nearest, ties to even; what float16 cannot hold becomes infinite, as IEEE 754 has it.
std::string encode(NumberFormat format, std::span<const float> values);
std::vector<float> decode(NumberFormat format, std::string_view bytes);

}  // namespace gta
