#include "checkpoints/exports/gguf_type.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "checkpoints/exports/number_format.h"
#include "core/error.h"

namespace gta {
namespace {

constexpr int64_t kBlock = 32, kScaleBytes = 2, kBlockBytes = kScaleBytes + kBlock;
constexpr float kMost = 127;

NumberFormat format_of(GgufType type) {
  return type == GgufType::F32 ? NumberFormat::F32 : type == GgufType::F16 ? NumberFormat::F16 : NumberFormat::BF16;
}

void encode_block(const float* values, char* block) {
  float most = 0;
  for (int64_t i = 0; i < kBlock; ++i) most = std::max(most, std::abs(values[i]));
  const float d = most / kMost, inverse = d != 0 ? 1 / d : 0;
  std::memcpy(block, encode(NumberFormat::F16, {&d, 1}).data(), kScaleBytes);
  for (int64_t i = 0; i < kBlock; ++i)
    block[kScaleBytes + i] = static_cast<char>(static_cast<int8_t>(std::round(values[i] * inverse)));
}

void decode_block(const char* block, float* values) {
  const float d = decode(NumberFormat::F16, {block, kScaleBytes})[0];
  for (int64_t i = 0; i < kBlock; ++i) values[i] = d * static_cast<float>(static_cast<int8_t>(block[kScaleBytes + i]));
}

}  // namespace

const char* name_of(GgufType type) { return type == GgufType::Q8_0 ? "q8_0" : name_of(format_of(type)); }

GgufType gguf_type_named(const std::string& name) {
  for (GgufType type : {GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q8_0})
    if (name == name_of(type)) return type;
  bad_input("--dtype", "expected float32, bfloat16, float16 or q8_0, got '{}'", name);
}

int64_t block_of(GgufType type) { return type == GgufType::Q8_0 ? kBlock : 1; }

int64_t bytes_of(GgufType type, int64_t numbers) {
  return type == GgufType::Q8_0 ? numbers / kBlock * kBlockBytes : numbers * bytes_of(format_of(type));
}

std::string encode(GgufType type, std::span<const float> values) {
  if (type != GgufType::Q8_0) return encode(format_of(type), values);
  const auto blocks = static_cast<int64_t>(values.size()) / kBlock;
  std::string bytes(static_cast<size_t>(blocks * kBlockBytes), '\0');
  for (int64_t b = 0; b < blocks; ++b) encode_block(values.data() + b * kBlock, bytes.data() + b * kBlockBytes);
  return bytes;
}

std::vector<float> decode(GgufType type, std::string_view bytes) {
  if (type != GgufType::Q8_0) return decode(format_of(type), bytes);
  const auto blocks = static_cast<int64_t>(bytes.size()) / kBlockBytes;
  std::vector<float> values(static_cast<size_t>(blocks * kBlock));
  for (int64_t b = 0; b < blocks; ++b) decode_block(bytes.data() + b * kBlockBytes, values.data() + b * kBlock);
  return values;
}

}  // namespace gta
