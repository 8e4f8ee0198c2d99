// Which texts are held out: a question to the text's hash alone. So a corpus that grows holds the same ones out and
// some of the new, whatever their order and files; the same text twice is on one side; a larger fraction has those of a
// smaller one.
#pragma once

#include <cstdint>

namespace gta {

// hash: xxh3 of the text; fraction: 0 to 1.
inline bool is_held_out(uint64_t hash, double fraction) {
  return static_cast<double>(hash >> 11) < fraction * static_cast<double>(uint64_t{1} << 53);
}

}  // namespace gta
