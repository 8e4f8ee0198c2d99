// How GGUF stores the numbers of a tensor. float32, float16 and bfloat16 one by one; q8_0 in blocks of 32 of a row,
// each a float16 d and 32 signed bytes q: x = d q with d = max|x| / 127.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gta {

enum class GgufType : uint32_t { F32 = 0, F16 = 1, Q8_0 = 8, BF16 = 30 };  // ggml's own numbers

const char* name_of(GgufType type);  // "float32", "float16", "q8_0", "bfloat16", as users have it
GgufType gguf_type_named(const std::string& name);
// Numbers of a row that are stored together: rows are a multiple of it.
int64_t block_of(GgufType type);
int64_t bytes_of(GgufType type, int64_t numbers);  // a multiple of block_of()

// Rounded to the nearest; what float16 cannot hold, as a number or as the d of a block, becomes infinite.
std::string encode(GgufType type, std::span<const float> values);
std::vector<float> decode(GgufType type, std::string_view bytes);

}  // namespace gta
