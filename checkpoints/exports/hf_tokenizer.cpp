#include "checkpoints/exports/hf_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "data/utf8.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpace = "\xe2\x96\x81";  // U+2581, sentencepiece's mark

// Each way to put a piece together from two others is a merge; those of better pieces come first, as sentencepiece
// joins the neighbours whose piece has the best score.
Json merges_of(const Tokenizer& tokenizer) {
  struct Merge {
    float score;
    int32_t left, right;
  };
  std::unordered_map<std::string, int32_t> ids;
  const auto count = static_cast<int32_t>(tokenizer.vocab_size());
  for (int32_t id = 0; id < count; ++id)
    if (tokenizer.piece(id).type == PieceType::Normal) ids.emplace(tokenizer.piece(id).text, id);
  std::vector<Merge> merges;
  for (const auto& [text, id] : ids)
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const auto left = ids.find(text.substr(0, cut)), right = ids.find(text.substr(cut));
      if (left != ids.end() && right != ids.end())
        merges.push_back({tokenizer.piece(id).score, left->second, right->second});
    }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, a.left, a.right) < std::tuple(-b.score, b.left, b.right);
  });
  Json list = Json::array();
  for (const Merge& merge : merges)
    list.push_back({tokenizer.piece(merge.left).text, tokenizer.piece(merge.right).text});
  return list;
}

Json model_of(const Tokenizer& tokenizer) {
  const auto count = static_cast<int32_t>(tokenizer.vocab_size());
  const bool has_bytes = tokenizer.gives_text_back();
  if (tokenizer.kind() == TokenizerKind::Unigram) {
    Json vocab = Json::array();
    for (int32_t id = 0; id < count; ++id) vocab.push_back({tokenizer.piece(id).text, tokenizer.piece(id).score});
    return {{"type", "Unigram"}, {"unk_id", tokenizer.unknown()}, {"vocab", vocab}, {"byte_fallback", has_bytes}};
  }
  Json::object_t vocab;  // at its end: looking each piece up first would take the square of their number
  for (int32_t id = 0; id < count; ++id) vocab.emplace_back(tokenizer.piece(id).text, id);
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", tokenizer.unknown() < 0 ? Json() : Json(tokenizer.piece(tokenizer.unknown()).text)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", has_bytes},
          {"ignore_merges", false},
          {"vocab", vocab},
          {"merges", merges_of(tokenizer)}};
}

Json added_tokens(const Tokenizer& tokenizer) {
  Json list = Json::array();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const TokenPiece& piece = tokenizer.piece(id);
    const bool special = piece.type == PieceType::Control || piece.type == PieceType::Unknown;
    if (!special && piece.type != PieceType::UserDefined) continue;
    list.push_back({{"id", id},
                    {"content", piece.text},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", !special},  // a user's symbol has its spaces as the pieces have them
                    {"special", special}});
  }
  return list;
}

// BOS before a text, as a document begins.
Json post_processor(const Tokenizer& tokenizer) {
  if (tokenizer.bos() < 0) return nullptr;
  const std::string& bos = tokenizer.piece(tokenizer.bos()).text;
  const Json first = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}},
             text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
             second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}},
             again = {{"SpecialToken", {{"id", bos}, {"type_id", 1}}}};
  return {{"type", "TemplateProcessing"},
          {"single", {first, text}},
          {"pair", {first, text, again, second}},
          {"special_tokens", {{bos, {{"id", bos}, {"ids", {tokenizer.bos()}}, {"tokens", {bos}}}}}}};
}

}  // namespace

std::string why_no_tokenizer_json(const Tokenizer& tokenizer) {
  if (tokenizer.kind() != TokenizerKind::Unigram && tokenizer.kind() != TokenizerKind::BytePairEncoding)
    return "it is neither of byte pairs nor unigrams";
  if (tokenizer.normalises()) return "it changes characters before it looks for pieces";
  if (tokenizer.joins_spaces()) return "it joins spaces";
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.piece(id).type == PieceType::Unused) return "it has pieces that are not to be used";
    if (find_bad_utf8(tokenizer.piece(id).text) >= 0) return "it has pieces that are not UTF-8";
  }
  return "";
}

std::string tokenizer_json(const Tokenizer& tokenizer) {
  Json normalizers = Json::array(), decoders = Json::array();
  if (tokenizer.adds_space()) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (tokenizer.adds_space()) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added_tokens(tokenizer)},
                     {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
                     {"pre_tokenizer", nullptr},
                     {"post_processor", post_processor(tokenizer)},
                     {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
                     {"model", model_of(tokenizer)}};
  return json.dump(1) + "\n";
}

std::string tokenizer_config_json(const Tokenizer& tokenizer, int64_t longest) {
  Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"model_max_length", longest},
               {"clean_up_tokenization_spaces", false}};
  for (const auto& [name, id] :
       {std::pair{"bos_token", tokenizer.bos()}, std::pair{"eos_token", tokenizer.eos()},
        std::pair{"unk_token", tokenizer.unknown()}, std::pair{"pad_token", tokenizer.padding()}})
    if (id >= 0) json[name] = tokenizer.piece(id).text;
  return json.dump(2) + "\n";
}

}  // namespace gta
