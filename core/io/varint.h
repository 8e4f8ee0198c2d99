// Numbers as protobuf writes them: seven bits a byte from the lowest on, the highest bit where more follow.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gta {

inline void put_varint(std::string& to, uint64_t value) {
  for (; value >= 0x80; value >>= 7) to += static_cast<char>(value | 0x80);
  to += static_cast<char>(value);
}

// The number at the front of `bytes`, which then begin behind it; nothing where they end within it, or it has more than
// 64 bits.
inline std::optional<uint64_t> take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[0]);
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

}  // namespace gta
