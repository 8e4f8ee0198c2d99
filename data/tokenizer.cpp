#include "data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <cstdlib>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "data/input_file.h"
#include "data/sentencepiece_check.h"
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
  std::string bytes;
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
    bad_input(name, "is not a sentencepiece model: {}", status.ok() ? "it has no pieces" : "it is damaged, or another kind of file");
  state->hash = hash_bytes(bytes);
  state->bytes = std::move(bytes);
  for (int id = 0; id < state->processor.GetPieceSize(); ++id) {
    std::string text;
    if (state->processor.IsByte(id))
      text.push_back(static_cast<char>(std::strtol(state->processor.IdToPiece(id).substr(3, 2).c_str(), nullptr, 16)));
    else if (!state->processor.IsControl(id) && !state->processor.IsUnknown(id))
      text = with_spaces(state->processor.IdToPiece(id));
    state->text.push_back(std::move(text));
  }
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
  if (const int64_t bad = find_bad_utf8(text); bad >= 0) bad_input("tokenizer", "the text is not UTF-8 at byte {}", bad);
  std::vector<int> ids;
  const auto status = state_->processor.Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) bad_input("tokenizer", "cannot encode a text of {} bytes", text.size());
  return {ids.begin(), ids.end()};
}

std::vector<int32_t> Tokenizer::encode_document(std::string_view text) const {
  require(bos() >= 0 || eos() >= 0, "tokenizer", "has neither a begin- nor an end-of-document token: documents could not be told apart");
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
int32_t Tokenizer::bos() const { return state_->processor.bos_id(); }
int32_t Tokenizer::eos() const { return state_->processor.eos_id(); }
uint64_t Tokenizer::hash() const { return state_->hash; }
const std::string& Tokenizer::bytes() const { return state_->bytes; }
int64_t Tokenizer::token_bytes(int32_t id) const { return static_cast<int64_t>(token_text(id).size()); }
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
