// CRC-32C (Castagnoli: reflected, polynomial 0x82f63b78, first and last xor 0xffffffff), the checksum of TensorBoard's
// event files.
#pragma once

#include <cstdint>
#include <string_view>

namespace gta {

uint32_t crc32c(std::string_view bytes);

}  // namespace gta
