#include "data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "data/input_file.h"
#include "data/sentencepiece_check.h"
#include "data/text_cutter.h"
#include "data/utf8.h"

namespace gta {
namespace {

constexpr int64_t kLargestModelFile = 64 << 20;
const std::string kSpaceMark = "\xe2\x96\x81";
const std::string kReplacement = "\xef\xbf\xbd";  // U+FFFD

std::string with_spaces(const std::string& piece) {
  std::string text;
  for (size_t at = 0; at < piece.size();) {
    const bool mark = piece.compare(at, kSpaceMark.size(), kSpaceMark) == 0;
    text.push_back(mark ? ' ' : piece[at]);
    at += mark ? kSpaceMark.size() : 1;
  }
  return text;
}

// The library throws what its tries throw.
sentencepiece::util::Status parse_model(sentencepiece::SentencePieceProcessor& processor, const std::string& bytes) {
  try {
    return processor.LoadFromSerializedProto(bytes);
  } catch (const std::exception&) {
    return {sentencepiece::util::StatusCode::kInternal, ""};
  }
}

}  // namespace

struct Tokenizer::State {
  sentencepiece::SentencePieceProcessor processor;
  // For a segment that does not begin the text. It gets no space; but where spaces are joined, those that it begins
  // with were taken.
  sentencepiece::SentencePieceProcessor continuation;
  bool same = false;  // the two would be
  SentencepieceSettings settings;
  std::unique_ptr<CutPlaces> places;
  std::array<int32_t, 256> bytes_of_text;  // their tokens
  bool spells_marks = false;               // U+2581 in bytes
  std::string bytes;
  std::vector<TokenPiece> pieces;
  std::vector<std::string> text;  // of every token
  uint64_t hash = 0;
  bool adds_space = false;
};

Tokenizer Tokenizer::load(const std::string& path) {
  require_input_file(path);
  return from_bytes(read_file(path, kLargestModelFile), path);
}

Tokenizer Tokenizer::from_bytes(std::string bytes, const std::string& name) {
  if (const std::string problem = find_sentencepiece_problem(bytes); !problem.empty())
    bad_input(name, "is not a sentencepiece model: {}", problem);
  auto state = std::make_shared<State>();
  // An empty file parses as a model without pieces.
  const auto status = parse_model(state->processor, bytes);
  if (!status.ok() || state->processor.GetPieceSize() <= 0)
    bad_input(name, "is not a sentencepiece model: {}",
              status.ok() ? "it has no pieces" : "it is damaged, or another kind of file");
  const SentencepieceSettings settings = state->settings = read_sentencepiece_settings(bytes);
  state->same = settings.adds_space == settings.joins_spaces;
  if (!state->same && !parse_model(state->continuation, with_added_space(bytes, settings.joins_spaces)).ok())
    bad_input(name, "is not a sentencepiece model: it is damaged");
  state->pieces = read_sentencepiece_pieces(bytes);
  if (static_cast<int>(state->pieces.size()) != state->processor.GetPieceSize())
    bad_input(name, "is not a sentencepiece model: it is damaged");
  state->hash = hash_bytes(bytes);
  state->bytes = std::move(bytes);
  state->bytes_of_text.fill(-1);
  std::vector<std::string> pieces;
  for (int id = 0; id < state->processor.GetPieceSize(); ++id) {
    std::string text;
    if (state->processor.IsByte(id)) {
      const auto byte =
          static_cast<unsigned char>(std::strtol(state->processor.IdToPiece(id).substr(3, 2).c_str(), nullptr, 16));
      text.push_back(static_cast<char>(byte));
      state->bytes_of_text[byte] = id;
    } else if (!state->processor.IsControl(id) && !state->processor.IsUnknown(id)) {
      pieces.push_back(state->processor.IdToPiece(id));
      text = settings.marks_spaces ? with_spaces(pieces.back()) : pieces.back();
    }
    state->text.push_back(std::move(text));
  }
  state->places = std::make_unique<CutPlaces>(settings, pieces);
  const auto& b = state->bytes_of_text;
  state->spells_marks = settings.byte_fallback && std::find(b.begin(), b.end(), -1) == b.end() &&
                        settings.marks_spaces && !settings.joins_spaces;
  // The library does not show the model's settings, but a letter shows this one.
  std::vector<int> letter;
  if (!state->processor.Encode("a", &letter).ok() || letter.empty())
    bad_input(name, "is not a usable sentencepiece model: it cannot encode 'a'");
  state->adds_space = state->text[letter[0]].starts_with(' ');
  Tokenizer tokenizer;
  tokenizer.state_ = std::move(state);
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  if (const int64_t bad = find_bad_utf8(text); bad >= 0)
    bad_input("tokenizer", "the text is not UTF-8 at byte {}", bad);
  std::vector<int32_t> ids;
  TextCutter cutter(cut_places());
  cutter.push(text);
  bool first = true;
  for (std::string segment; cutter.next(segment, true); first = false) {
    const std::vector<int32_t> more = encode_segment(segment, first, cutter.empty());
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_segment(std::string_view text, bool first, bool last) const {
  const State& s = *state_;
  std::vector<int32_t> ids;
  std::vector<int> part;
  const auto encode_part = [&](std::string_view words, bool begins, bool ends) {
    const bool with_space = s.same || (s.settings.space_ends_words ? ends : begins);
    const auto status = (with_space ? s.processor : s.continuation).Encode({words.data(), words.size()}, &part);
    if (!status.ok()) bad_input("tokenizer", "cannot encode a text of {} bytes", words.size());
    ids.insert(ids.end(), part.begin(), part.end());
  };
  // The library takes its own mark for a space: it sees the text between the marks alone.
  for (bool begins = first; s.spells_marks; begins = false) {
    const size_t mark = text.find(kSpaceMark);
    if (mark == std::string_view::npos) return encode_part(text, begins, last), ids;
    encode_part(text.substr(0, mark), begins, false);
    for (const char byte : kSpaceMark) ids.push_back(s.bytes_of_text[static_cast<unsigned char>(byte)]);
    text.remove_prefix(mark + kSpaceMark.size());
  }
  encode_part(text, first, last);
  return ids;
}

void Tokenizer::require_document_token() const {
  require(bos() >= 0 || eos() >= 0, "tokenizer",
          "has neither a begin- nor an end-of-document token: documents could not be told apart");
}

std::vector<int32_t> Tokenizer::encode_document(std::string_view text) const {
  require_document_token();
  std::vector<int32_t> ids = encode(text);
  if (bos() >= 0) ids.insert(ids.begin(), bos());
  if (eos() >= 0) ids.push_back(eos());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) text += token_text(id);
  if (adds_space() && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(state_->text.size()); }
const TokenPiece& Tokenizer::piece(int32_t id) const {
  token_text(id);  // that there is one
  return state_->pieces[static_cast<size_t>(id)];
}
TokenizerKind Tokenizer::kind() const { return state_->settings.kind; }
bool Tokenizer::joins_spaces() const { return state_->settings.joins_spaces; }
bool Tokenizer::normalises() const { return state_->settings.normalises; }
int32_t Tokenizer::unknown() const { return state_->processor.unk_id(); }
int32_t Tokenizer::padding() const { return state_->processor.pad_id(); }
int32_t Tokenizer::bos() const { return state_->processor.bos_id(); }
int32_t Tokenizer::eos() const { return state_->processor.eos_id(); }
uint64_t Tokenizer::hash() const { return state_->hash; }
const std::string& Tokenizer::bytes() const { return state_->bytes; }
int64_t Tokenizer::token_bytes(int32_t id) const { return static_cast<int64_t>(token_text(id).size()); }
const CutPlaces& Tokenizer::cut_places() const { return *state_->places; }
bool Tokenizer::gives_text_back() const {
  const SentencepieceSettings& s = state_->settings;
  return state_->spells_marks && !s.normalises && !(s.adds_space && s.space_ends_words);
}
bool Tokenizer::adds_space() const { return state_->adds_space; }
bool Tokenizer::starts_with_space(int32_t id) const { return token_text(id).starts_with(' '); }

const std::string& Tokenizer::token_text(int32_t id) const {
  if (id < 0 || id >= vocab_size()) bad_input("tokenizer", "has {} tokens, got the token {}", vocab_size(), id);
  return state_->text[id];
}

std::string StreamDecoder::push(int32_t id) {
  pending_ += tokenizer_.token_text(id);
  return take(false);
}

std::string StreamDecoder::finish() { return take(true); }

std::string StreamDecoder::take(bool at_end) {
  size_t at = 0;
  if (drop_space_ && !pending_.empty()) {
    drop_space_ = false;
    if (pending_[0] == ' ') at = 1;
  }
  std::string text;
  while (at < pending_.size()) {
    const int length = utf8_length(std::string_view(pending_).substr(at));
    if (length < 0 && !at_end) break;
    if (length > 0)
      text.append(pending_, at, static_cast<size_t>(length));
    else
      text += kReplacement;
    at += length > 0 ? static_cast<size_t>(length) : 1;
  }
  pending_.erase(0, at);
  return text;
}

}  // namespace gta
