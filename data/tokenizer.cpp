#include "data/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <unordered_map>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "data/utf8.h"

namespace gta {
namespace {

constexpr int64_t kLargestModelFile = 64 << 20;
const std::string kSpaceMark = "\xe2\x96\x81";
const std::string kReplacement = "\xef\xbf\xbd";

std::string with_spaces(std::string piece) {
  for (size_t at = piece.find(kSpaceMark); at != std::string::npos; at = piece.find(kSpaceMark, at + 1)) piece.replace(at, kSpaceMark.size(), " ");
  return piece;
}

// The trainer pulls sentences from this.
class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& sentences) : sentences_(sentences) {}
  bool done() const override { return at_ == sentences_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return sentences_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& sentences_;
  size_t at_ = 0;
};

}  // namespace

struct Tokenizer::State {
  sentencepiece::SentencePieceProcessor processor;
  std::string bytes;
  std::vector<std::string> text;  // of every token
};

Tokenizer Tokenizer::load(const std::string& path) { return from_bytes(read_file(path, kLargestModelFile), path); }

Tokenizer Tokenizer::from_bytes(std::string bytes, const std::string& name) {
  auto state = std::make_shared<State>();
  // An empty file parses as a model without pieces.
  const auto status = state->processor.LoadFromSerializedProto(bytes);
  if (!status.ok() || state->processor.GetPieceSize() <= 0) bad_input(name, "is not a sentencepiece model: {}", status.ok() ? "it has no pieces" : status.ToString());
  state->bytes = std::move(bytes);
  for (int id = 0; id < state->processor.GetPieceSize(); ++id) {
    std::string text;
    if (state->processor.IsByte(id))
      text = std::string(1, static_cast<char>(std::strtol(state->processor.IdToPiece(id).substr(3, 2).c_str(), nullptr, 16)));
    else if (!state->processor.IsControl(id) && !state->processor.IsUnknown(id))
      text = with_spaces(state->processor.IdToPiece(id));
    state->text.push_back(std::move(text));
  }
  Tokenizer tokenizer;
  tokenizer.state_ = std::move(state);
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = state_->processor.Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) bad_input("tokenizer", "cannot encode: {}", status.ToString());
  return {ids.begin(), ids.end()};
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) {
    std::string piece = token_text(id);
    if (text.empty() && !piece.empty() && piece[0] == ' ') piece.erase(0, 1);
    text += piece;
  }
  return text;
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(state_->text.size()); }
int32_t Tokenizer::bos() const { return state_->processor.bos_id(); }
int32_t Tokenizer::eos() const { return state_->processor.eos_id(); }
uint64_t Tokenizer::hash() const { return hash_bytes(state_->bytes); }
const std::string& Tokenizer::bytes() const { return state_->bytes; }
int64_t Tokenizer::token_bytes(int32_t id) const { return static_cast<int64_t>(token_text(id).size()); }
bool Tokenizer::starts_with_space(int32_t id) const { return !token_text(id).empty() && token_text(id)[0] == ' '; }

std::string Tokenizer::token_text(int32_t id) const {
  if (id < 0 || id >= vocab_size()) bad_input("tokenizer", "has {} tokens, got the token {}", vocab_size(), id);
  return state_->text[id];
}

void train_tokenizer(const std::vector<std::string>& documents, int64_t vocab_size, const std::string& output) {
  require(vocab_size >= 300 && vocab_size <= 1 << 20, "tokenizer", "expected 300 to 1048576 pieces (256 of them single bytes), got {}", vocab_size);
  // The trainer takes short sentences: lines, without their ends, which stay byte-fallback pieces.
  std::vector<std::string> sentences;
  for (const std::string& document : documents) {
    size_t begin = 0;
    while (begin < document.size()) {
      const size_t end = std::min(document.find('\n', begin), document.size());
      if (end > begin) sentences.push_back(document.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  require(!sentences.empty(), "tokenizer", "there is no text to train on");
  std::string model;
  Sentences iterator(sentences);
  // One thread, and no sampling of sentences: the same pieces everywhere.
  const std::unordered_map<std::string, std::string> settings = {{"model_type", "bpe"},
                                                                 {"vocab_size", std::to_string(vocab_size)},
                                                                 {"character_coverage", "0.9999"},
                                                                 {"byte_fallback", "true"},
                                                                 {"normalization_rule_name", "identity"},
                                                                 {"remove_extra_whitespaces", "false"},
                                                                 {"add_dummy_prefix", "true"},
                                                                 {"max_sentence_length", "65536"},
                                                                 {"num_threads", "1"},
                                                                 {"minloglevel", "3"},
                                                                 {"input_sentence_size", "2000000"},
                                                                 {"shuffle_input_sentence", "false"},
                                                                 {"unk_id", "0"},
                                                                 {"bos_id", "1"},
                                                                 {"eos_id", "2"},
                                                                 {"pad_id", "-1"}};
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  if (!status.ok()) bad_input("tokenizer", "cannot train {} pieces on this text: {}", vocab_size, status.ToString());
  publish_text(output, model);
}

std::string StreamDecoder::push(int32_t id) {
  pending_ += tokenizer_.token_text(id);
  std::string text;
  size_t at = 0;
  while (at < pending_.size()) {
    const size_t length = utf8_length(std::string_view(pending_).substr(at));
    if (length > 0) {
      text.append(pending_, at, length);
      at += length;
    } else if (utf8_may_continue(std::string_view(pending_).substr(at))) {
      break;
    } else {
      text += kReplacement;  // bytes that form no character: an untrained model says such things
      ++at;
    }
  }
  pending_.erase(0, at);
  return text;
}

}  // namespace gta
