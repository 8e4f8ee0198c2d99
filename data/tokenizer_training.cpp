#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <streambuf>
#include <string_view>
#include <unordered_map>

#include "core/clock.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "data/corpus.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace gta {
namespace {

constexpr int64_t kFewestPieces = 300;

// The trainer skips longer ones; a piece that would cross such a cut is rare enough.
constexpr size_t kLongestWord = 16384;
// The trainer takes some 70 bytes for each byte of different words.
constexpr int64_t kTrainerWordBytes = 8 << 20;
constexpr int64_t kEntryBytes = 96;  // what the table takes for a word besides its text

// U+2581 and U+2585 are the trainer's own: one a space, and of text with the other it takes nothing.
const std::string kMarks[] = {"\xe2\x96\x81", "\xe2\x96\x85"};

// How often each word of a text comes. Pieces never cross a space or a control character, so that the words between
// them are all that the trainer needs. Memory is bounded: when there are too many different words, of the rare ones
// (met rare_ times or fewer) those of one half of all hashes go, and the others stand for them; when the rare ones are
// few, twice as many count as rare. What is frequent all stays, what is rare is an even sample of it, whatever its
// place in the text.
class WordCounts {
 public:
  explicit WordCounts(int64_t most_bytes) : most_bytes_(most_bytes) {}

  // A text or a part of one: a word may be cut where a part of more than 1 MiB ends.
  void add(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      size_t mark = 0;
      while (at < text.size() && static_cast<unsigned char>(text[at]) > ' ' && !(mark = mark_at(text.substr(at)))) ++at;
      add_cut(text.substr(begin, at - begin));
      at += mark > 0 ? mark : 1;
    }
  }

  // As the trainer reads them: "word\tcount", sorted; the table is then empty.
  std::vector<std::string> take() {
    shrink([](const std::string& word) { return static_cast<int64_t>(word.size()); }, kTrainerWordBytes);
    std::vector<std::string> lines;
    for (const auto& [word, count] : counts_)
      lines.push_back(fmt::format("{}\t{}", word, count <= rare_ ? count << halvings_ : count));
    counts_ = {};
    std::sort(lines.begin(), lines.end());
    return lines;
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return hash_bytes(word.data(), word.size()); }
  };

  static size_t mark_at(std::string_view text) {
    for (const std::string& mark : kMarks)
      if (text.starts_with(mark)) return mark.size();
    return 0;
  }

  void add_cut(std::string_view word) {
    while (word.size() > kLongestWord) {
      size_t cut = kLongestWord;
      while ((static_cast<unsigned char>(word[cut]) & 0xc0) == 0x80) --cut;
      add_word(word.substr(0, cut));
      word.remove_prefix(cut);
    }
    if (!word.empty()) add_word(word);
  }

  void add_word(std::string_view word) {
    if (const auto found = counts_.find(word); found != counts_.end()) {
      ++found->second;
      return;
    }
    counts_.emplace(word, 1);
    bytes_ += entry_bytes(word);
    if (bytes_ > most_bytes_)
      bytes_ = shrink([](const std::string& kept) { return entry_bytes(kept); }, most_bytes_ / 2);
  }

  static int64_t entry_bytes(std::string_view word) { return kEntryBytes + static_cast<int64_t>(word.size()); }

  // To at most so many bytes by `size`; returns how many are left.
  template <class Size>
  int64_t shrink(Size size, int64_t most) {
    while (true) {
      int64_t all = 0, rare = 0;
      for (auto word = counts_.begin(); word != counts_.end();) {
        const bool is_rare = word->second <= rare_;
        if (is_rare && Hash()(word->first) > highest_) {
          word = counts_.erase(word);
          continue;
        }
        const int64_t bytes = size(word->first);
        all += bytes;
        rare += is_rare ? bytes : 0;
        ++word;
      }
      if (all <= most || counts_.size() <= 1) return all;
      if (rare > most / 2 && highest_ > 0) {
        highest_ /= 2;
        ++halvings_;
      } else {
        rare_ *= 2;
      }
    }
  }

  int64_t most_bytes_, bytes_ = 0, rare_ = 1;
  int halvings_ = 0;
  uint64_t highest_ = UINT64_MAX;  // hash of a rare word that stays
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> counts_;
};

// The trainer pulls lines from this.
class LinesIterator : public sentencepiece::SentenceIterator {
 public:
  explicit LinesIterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t at_ = 0;
};

// The trainer tells of itself on std::cerr alone, in lines like "... LOG(INFO) Added: freq=8 size=60 all=...": while
// this lives, they come here.
class TrainerProgress : public std::streambuf {
 public:
  TrainerProgress(int64_t pieces, Clock::duration between)
      : pieces_(pieces), between_(between), before_(std::cerr.rdbuf(this)) {}
  ~TrainerProgress() override { std::cerr.rdbuf(before_); }

 protected:
  int_type overflow(int_type c) override {
    if (c == '\n') {
      say();
      line_.clear();
    } else if (c != traits_type::eof()) {
      line_.push_back(static_cast<char>(c));
    }
    return traits_type::not_eof(c);
  }

 private:
  void say() {
    const size_t size = line_.find("size=");
    if (line_.find("Added: ") == std::string::npos || size == std::string::npos || Clock::now() - said_ < between_)
      return;
    said_ = Clock::now();
    // Bytes and control tokens come without training.
    log::info("{} of {} pieces so far", std::min<int64_t>(pieces_, 259 + std::atoll(line_.c_str() + size + 5)),
              pieces_);
  }

  int64_t pieces_;
  Clock::duration between_;
  std::streambuf* before_;
  Clock::time_point said_ = Clock::now();
  std::string line_;
};

void check_vocab_size(int64_t vocab_size) {
  require(vocab_size >= kFewestPieces && vocab_size <= 1 << 20, "tokenizer",
          "expected {} to 1048576 pieces (256 of them single bytes), got {}", kFewestPieces, vocab_size);
}

// The number after `mark` in what the library said, or 0.
int64_t number_after(const std::string& said, const std::string& mark) {
  const size_t at = said.find(mark);
  return at == std::string::npos ? 0 : std::strtoll(said.c_str() + at + mark.size(), nullptr, 10);
}

// The library speaks of options of its own, but knows how many pieces there can be.
[[noreturn]] void refuse(int64_t vocab_size, const std::string& said) {
  if (const int64_t least = number_after(said, " vs "); least > vocab_size)
    bad_input("tokenizer",
              "the different characters of this text and the single bytes are {} pieces already, more than {}: ask for "
              "at least {}",
              least, vocab_size, least);
  if (const int64_t most = number_after(said, "<= "); most > 0 && most < vocab_size)
    bad_input("tokenizer", "this text gives at most {} pieces, not {}: {}give more text", most, vocab_size,
              most < kFewestPieces ? "" : "ask for fewer, or ");
  bad_input("tokenizer", "this text does not give {} pieces: ask for another number, or give more text", vocab_size);
}

void train(WordCounts& words, int64_t vocab_size, const std::string& output, Clock::duration between_reports) {
  const std::vector<std::string> lines = words.take();
  require(!lines.empty(), "tokenizer", "there is no text to train on");
  std::string model;
  LinesIterator iterator(lines);
  const std::unordered_map<std::string, std::string> settings = {{"model_type", "bpe"},
                                                                 {"input_format", "tsv"},
                                                                 {"vocab_size", std::to_string(vocab_size)},
                                                                 {"character_coverage", "0.9999"},
                                                                 {"byte_fallback", "true"},
                                                                 {"normalization_rule_name", "identity"},
                                                                 {"remove_extra_whitespaces", "false"},
                                                                 {"add_dummy_prefix", "true"},
                                                                 {"max_sentence_length", "65536"},
                                                                 {"num_threads", "1"},
                                                                 {"minloglevel", "0"},
                                                                 {"input_sentence_size", "0"},
                                                                 {"shuffle_input_sentence", "false"},
                                                                 {"unk_id", "0"},
                                                                 {"bos_id", "1"},
                                                                 {"eos_id", "2"},
                                                                 {"pad_id", "-1"}};
  const auto status = [&] {
    const TrainerProgress progress(vocab_size, between_reports);
    return sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  }();
  if (!status.ok()) refuse(vocab_size, status.ToString());
  publish_text(output, model);
}

}  // namespace

void train_tokenizer(const std::vector<std::string>& documents, int64_t vocab_size, const std::string& output) {
  check_vocab_size(vocab_size);
  WordCounts words(TokenizerTraining().table_bytes);
  for (const std::string& document : documents) {
    if (const int64_t bad = find_bad_utf8(document); bad >= 0)
      bad_input("tokenizer", "a document is not UTF-8 at byte {}", bad);
    words.add(document);
  }
  train(words, vocab_size, output, TokenizerTraining().between_reports);
}

int64_t train_tokenizer(const std::vector<std::string>& inputs, const CorpusOptions& options, int64_t vocab_size,
                        const std::string& output, const TokenizerTraining& training) {
  check_vocab_size(vocab_size);
  require(training.table_bytes > 0, "tokenizer", "expected a positive number of bytes for the table of words, got {}",
          training.table_bytes);
  WordCounts words(training.table_bytes);
  int64_t documents = 0;
  CorpusOptions of_any_size = options;
  of_any_size.largest_document = INT64_MAX;  // none is held
  CorpusReader reader(inputs, of_any_size);
  auto said = Clock::now();
  for (DocumentPart part; reader.next(part); documents += part.ends_document) {
    words.add(part.text);
    if (Clock::now() - said < training.between_reports) continue;
    said = Clock::now();
    log::info("{} MB of text read so far", reader.bytes_read() / 1'000'000);
  }
  train(words, vocab_size, output, training.between_reports);
  return documents;
}

}  // namespace gta
