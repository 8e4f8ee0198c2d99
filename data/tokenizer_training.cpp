#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <unordered_map>

#include "core/error.h"
#include "core/io/file.h"
#include "data/corpus.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace gta {
namespace {

// The trainer skips sentences above its limit; a piece that would cross one of these cuts is rare enough.
constexpr size_t kLongestSentence = 16384;
constexpr int64_t kFewestPieces = 300;

// splitmix64's finalizer.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The trainer's sentences: text between control characters (it takes a tab for its own and skips the line). Holds at most most_bytes: each
// sentence draws a number from its position alone, and when there are too many, the upper half of the numbers goes, then of those left.
class Sentences {
 public:
  explicit Sentences(int64_t most_bytes) : most_bytes_(most_bytes) {}

  void add_document(std::string_view document) {
    size_t begin = 0;
    for (size_t at = 0; at <= document.size(); ++at) {
      if (at < document.size() && static_cast<unsigned char>(document[at]) >= 0x20) continue;
      add_cut(document.substr(begin, at - begin));
      begin = at + 1;
    }
  }

  size_t size() const { return kept_.size(); }
  const std::string& operator[](size_t index) const { return kept_[index].text; }

 private:
  struct Sentence {
    uint64_t draw;
    std::string text;
  };

  void add_cut(std::string_view text) {
    while (text.size() > kLongestSentence) {
      size_t cut = text.rfind(' ', kLongestSentence);
      const bool at_space = cut != std::string_view::npos && cut > 0;
      if (!at_space)
        for (cut = kLongestSentence; (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80;) --cut;
      add(text.substr(0, cut));
      text.remove_prefix(at_space ? cut + 1 : cut);
    }
    add(text);
  }

  void add(std::string_view text) {
    if (text.empty()) return;
    const uint64_t draw = mix(++count_ * 0x9e3779b97f4a7c15u);
    if (draw > highest_) return;
    kept_.push_back({draw, std::string(text)});
    bytes_ += static_cast<int64_t>(text.size());
    while (bytes_ > most_bytes_ && highest_ > 0) {
      highest_ /= 2;
      std::erase_if(kept_, [&](const Sentence& sentence) {
        if (sentence.draw <= highest_) return false;
        bytes_ -= static_cast<int64_t>(sentence.text.size());
        return true;
      });
    }
  }

  int64_t most_bytes_, bytes_ = 0;
  uint64_t count_ = 0, highest_ = UINT64_MAX;
  std::vector<Sentence> kept_;
};

// The trainer pulls sentences from this.
class SentencesIterator : public sentencepiece::SentenceIterator {
 public:
  explicit SentencesIterator(const Sentences& sentences) : sentences_(sentences) {}
  bool done() const override { return at_ == sentences_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return sentences_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const Sentences& sentences_;
  size_t at_ = 0;
};

void check_vocab_size(int64_t vocab_size) {
  require(vocab_size >= kFewestPieces && vocab_size <= 1 << 20, "tokenizer", "expected {} to 1048576 pieces (256 of them single bytes), got {}",
          kFewestPieces, vocab_size);
}

// The number after `mark` in what the library said, or 0.
int64_t number_after(const std::string& said, const std::string& mark) {
  const size_t at = said.find(mark);
  return at == std::string::npos ? 0 : std::strtoll(said.c_str() + at + mark.size(), nullptr, 10);
}

// The library speaks of options of its own, but knows how many pieces there can be.
[[noreturn]] void refuse(int64_t vocab_size, const std::string& said) {
  if (const int64_t least = number_after(said, " vs "); least > vocab_size)
    bad_input("tokenizer", "the different characters of this text and the single bytes are {} pieces already, more than {}: ask for at least {}", least, vocab_size,
              least);
  if (const int64_t most = number_after(said, "<= "); most > 0 && most < vocab_size)
    bad_input("tokenizer", "this text gives at most {} pieces, not {}: {}give more text", most, vocab_size, most < kFewestPieces ? "" : "ask for fewer, or ");
  bad_input("tokenizer", "this text does not give {} pieces: ask for another number, or give more text", vocab_size);
}

void train(const Sentences& sentences, int64_t vocab_size, const std::string& output) {
  require(sentences.size() > 0, "tokenizer", "there is no text to train on");
  std::string model;
  SentencesIterator iterator(sentences);
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
                                                                 {"input_sentence_size", "0"},
                                                                 {"shuffle_input_sentence", "false"},
                                                                 {"unk_id", "0"},
                                                                 {"bos_id", "1"},
                                                                 {"eos_id", "2"},
                                                                 {"pad_id", "-1"}};
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  if (!status.ok()) refuse(vocab_size, status.ToString());
  publish_text(output, model);
}

}  // namespace

void train_tokenizer(const std::vector<std::string>& documents, int64_t vocab_size, const std::string& output) {
  check_vocab_size(vocab_size);
  Sentences sentences(INT64_MAX);
  for (const std::string& document : documents) {
    if (const int64_t bad = find_bad_utf8(document); bad >= 0) bad_input("tokenizer", "a document is not UTF-8 at byte {}", bad);
    sentences.add_document(document);
  }
  train(sentences, vocab_size, output);
}

int64_t train_tokenizer(const std::vector<std::string>& inputs, const CorpusOptions& options, int64_t vocab_size, const std::string& output,
                        int64_t most_bytes) {
  check_vocab_size(vocab_size);
  require(most_bytes > 0, "tokenizer", "expected a positive number of bytes to train on, got {}", most_bytes);
  Sentences sentences(most_bytes);
  int64_t documents = 0;
  read_documents(inputs, options, [&](std::string&& document) {
    ++documents;
    sentences.add_document(document);
  });
  train(sentences, vocab_size, output);
  return documents;
}

}  // namespace gta
