#include "checkpoints/exports/gguf_tokenizer.h"

#include <fmt/format.h>

namespace gta {
namespace {

// Symbols of a user are looked for in the text as it is, before spaces get sentencepiece's mark.
std::string text_of(const TokenPiece& piece) {
  constexpr std::string_view kSpaceMark = "\xe2\x96\x81";
  std::string text = piece.text;
  if (piece.type != PieceType::UserDefined) return text;
  for (size_t at = text.find(kSpaceMark); at != std::string::npos; at = text.find(kSpaceMark, at + 1))
    text.replace(at, kSpaceMark.size(), " ");
  return text;
}

}  // namespace

std::string why_no_gguf_tokenizer(const Tokenizer& tokenizer) {
  if (tokenizer.kind() != TokenizerKind::BytePairEncoding) return "it is not of byte pairs";
  if (tokenizer.normalises()) return "it changes characters before it looks for pieces";
  if (tokenizer.joins_spaces()) return "it joins spaces";
  return "";
}

void add_tokenizer_keys(GgufKeys& keys, const Tokenizer& tokenizer, int64_t vocab_size) {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (int64_t id = 0; id < vocab_size; ++id) {
    const TokenPiece piece = id < tokenizer.vocab_size() ? tokenizer.piece(static_cast<int32_t>(id))
                                                         : TokenPiece{fmt::format("[PAD{}]", id), 0, PieceType::Unused};
    tokens.push_back(text_of(piece));
    scores.push_back(piece.score);
    types.push_back(static_cast<int32_t>(piece.type));
  }
  const auto key = [&keys](const char* name, GgufValue value) {
    keys.emplace_back(std::string("tokenizer.ggml.") + name, std::move(value));
  };
  key("model", std::string("llama"));
  key("pre", std::string("default"));
  key("tokens", std::move(tokens));
  key("scores", std::move(scores));
  key("token_type", std::move(types));
  for (const auto& [name, id] :
       {std::pair{"bos_token_id", tokenizer.bos()}, std::pair{"eos_token_id", tokenizer.eos()},
        std::pair{"unknown_token_id", tokenizer.unknown()}, std::pair{"padding_token_id", tokenizer.padding()}})
    if (id >= 0) key(name, static_cast<uint32_t>(id));
  key("add_bos_token", tokenizer.bos() >= 0);
  key("add_eos_token", false);
  key("add_space_prefix", tokenizer.adds_space());
}

}  // namespace gta
