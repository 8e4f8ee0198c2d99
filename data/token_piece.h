// A tokenizer's vocabulary as exports write it. The numbers are sentencepiece's, and those of GGUF.
#pragma once

#include <cstdint>
#include <string>

namespace gta {

enum class PieceType : uint8_t { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

struct TokenPiece {
  std::string text;  // as the model has it: U+2581 for a space, "<0x0A>" for a byte
  float score = 0;   // of byte-pair encoding: minus the rank of the merge; of unigram: a log probability
  PieceType type = PieceType::Normal;
};

// How pieces are chosen.
enum class TokenizerKind : uint8_t { Unigram = 1, BytePairEncoding = 2, Word = 3, Character = 4 };

}  // namespace gta
