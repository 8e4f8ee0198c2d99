// What a sentencepiece model must hold to before the library sees it: the library walks the normaliser's trie (a Darts double array)
// without looking whether it stays inside, and takes pieces for texts that end with a zero byte.
//
//   ModelProto {1 pieces: {1 piece: text}, 3 normalizer_spec, 5 denormalizer_spec: {2 precompiled_charsmap: bytes}}
//   precompiled_charsmap   u32 bytes of the trie, units of 32 bits, texts that end with a zero byte
//   unit                   bits 0-7 label, 8 has a leaf, 9 scale of the offset, 10-30 offset, 31 is a leaf with a value: a text's place
#pragma once

#include <string>
#include <string_view>

namespace gta {

// What is wrong, or "".
std::string find_sentencepiece_problem(std::string_view model);

}  // namespace gta
