// What a sentencepiece model's file says that its library does not show, and what it must hold to before the library
// sees it: the library walks the normaliser's trie (a Darts double array) without looking whether it stays inside, and
// takes pieces for texts that end with a zero byte.
//
//   ModelProto {1 pieces: {1 piece: text, 2 score: float, 3 type},
//              3 normalizer_spec, 5 denormalizer_spec: {2 precompiled_charsmap: bytes},
//              2 trainer_spec: {3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback}
//              3 normalizer_spec: {3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces}}
//   precompiled_charsmap   u32 bytes of the trie, units of 32 bits, texts that end with a zero byte
//   unit                   bits 0-7 label, 8 has a leaf, 9 scale of the offset, 10-30 offset, 31 is a leaf with a
//                          value: a text's place
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/token_piece.h"

namespace gta {

// What is wrong, or "".
std::string find_sentencepiece_problem(std::string_view model);

struct SentencepieceSettings {
  bool normalises = false;        // characters become others
  bool adds_space = true;         // before the text (or after it, with space_ends_words)
  bool joins_spaces = true;       // several spaces become one; those at the ends go
  bool marks_spaces = true;       // a space is U+2581 in pieces
  bool space_ends_words = false;  // pieces are "word ", not " word"
  bool byte_fallback = false;     // characters without a piece are spelt in bytes
  TokenizerKind kind = TokenizerKind::Unigram;
};
SentencepieceSettings read_sentencepiece_settings(std::string_view model);

// Every piece in the order of its tokens. Of a model in which find_sentencepiece_problem() finds nothing.
std::vector<TokenPiece> read_sentencepiece_pieces(std::string_view model);

// In the text of every piece.
void replace_in_pieces(std::string& model, char from, char to);

// The model with another adds_space.
std::string with_added_space(std::string_view model, bool adds_space);

}  // namespace gta
