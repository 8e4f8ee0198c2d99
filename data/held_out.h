// Which texts are held out: a question to the text's hash alone. So a corpus that grows holds the same ones out and
// some of the new, whatever their order and files; the same text twice is on one side; a larger fraction has those of a
// smaller one.
#pragma once

#include <cstdint>

namespace gta {

// hash: xxh3 of the text. It is held out by every fraction above this, which is 0 up to 1.
inline double held_out_from(uint64_t hash) {
  return static_cast<double>(hash >> 11) / static_cast<double>(uint64_t{1} << 53);
}

inline bool is_held_out(uint64_t hash, double fraction) { return held_out_from(hash) < fraction; }

}  // namespace gta
