#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <streambuf>
#include <string_view>
#include <unordered_map>

#include "core/clock.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "data/corpus.h"
#include "data/held_out.h"
#include "data/sentencepiece_check.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "data/word_counts.h"

namespace gta {
namespace {

constexpr int64_t kFewestPieces = 300;
const std::string kSpaceMark = "\xe2\x96\x81";

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

void check(int64_t vocab_size, const TokenizerTraining& training) {
  require(vocab_size >= kFewestPieces && vocab_size <= 1 << 20, "tokenizer",
          "expected {} to 1048576 pieces (256 of them single bytes), got {}", kFewestPieces, vocab_size);
  require(training.table_bytes > 0, "tokenizer", "expected a positive number of bytes for the table of words, got {}",
          training.table_bytes);
  require(training.character_coverage >= 0.98 && training.character_coverage <= 1, "tokenizer",
          "expected a character coverage from 0.98 to 1, got {}", training.character_coverage);
  require(training.hold_out >= 0 && training.hold_out < 1, "tokenizer",
          "expected to hold out a part of the text from 0 up to 1, got {}", training.hold_out);
  std::set<std::string> symbols = {"<unk>", "<s>", "</s>"};
  for (const std::string& symbol : training.user_symbols) {
    const bool is_byte = symbol.size() == 6 && symbol.starts_with("<0x") && symbol.ends_with(">");
    const bool has_white = std::any_of(symbol.begin(), symbol.end(), [](unsigned char c) { return c <= ' '; });
    if (symbol.empty() || has_white || is_byte || find_bad_utf8(symbol) >= 0 ||
        symbol.find(kSpaceMark) != std::string::npos)
      bad_input("tokenizer",
                "'{}' cannot be a symbol of yours: expected UTF-8 of at least one character without spaces, control "
                "characters and U+2581, and not the name of a byte",
                symbol);
    if (!symbols.insert(symbol).second)
      bad_input("tokenizer", "the symbol '{}' is there already: leave it out", symbol);
  }
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

// As the library reads a list.
std::string comma_separated(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) {
    list += list.empty() ? "\"" : ",\"";
    for (const char c : text) list += c == '"' ? std::string(2, c) : std::string(1, c);
    list += '"';
  }
  return list;
}

// The model of a tokenizer.
std::string train(WordCounts& words, int64_t vocab_size, const TokenizerTraining& training) {
  require(words.has_text(), "tokenizer", "there is no text to train on");
  const std::vector<std::string> lines = words.take();
  std::string model;
  LinesIterator iterator(lines);
  std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"input_format", "tsv"},
      {"vocab_size", std::to_string(vocab_size)},
      {"character_coverage", fmt::format("{}", training.character_coverage)},
      {"split_digits", training.split_digits ? "true" : "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},  // words have the spaces that they have in the text
      {"max_sentence_length", "65536"},
      {"num_threads", "1"},
      {"minloglevel", "0"},
      {"input_sentence_size", "0"},
      {"shuffle_input_sentence", "false"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"}};
  if (!training.user_symbols.empty()) settings["user_defined_symbols"] = comma_separated(training.user_symbols);
  const auto status = [&] {
    const TrainerProgress progress(vocab_size, training.between_reports);
    return sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  }();
  if (!status.ok()) refuse(vocab_size, status.ToString());
  replace_in_pieces(model, WordCounts::kTab, '\t');
  return with_added_space(model, true);
}

// Text for the trainer in blocks, some of which are held out. Of these an even sample by hash is kept.
class TrainingText {
 public:
  TrainingText(WordCounts& words, double hold_out) : words_(words), hold_out_(hold_out) {}

  void add(const DocumentPart& part) {
    for (std::string_view text = part.text; !text.empty();) {
      const size_t least = kHeldOutBlock - std::min(kHeldOutBlock, block_.size()),
                   end = text.size() < least ? std::string_view::npos : text.find('\n', least > 0 ? least - 1 : 0);
      const size_t bytes = end == std::string_view::npos ? text.size() : end + 1;
      block_ += text.substr(0, bytes);
      text.remove_prefix(bytes);
      if (end != std::string_view::npos || block_.size() >= kLargestBlock) end_block();
    }
    if (!part.ends_document) return;
    end_block();
    words_.end_document();
  }

  // What a tokenizer makes of the text that is held out.
  void measure(const Tokenizer& tokenizer, TokenizerReport& report) const {
    for (const auto& [hash, text] : held_) {
      report.held_out_bytes += static_cast<int64_t>(text.size());
      report.held_out_tokens += static_cast<int64_t>(tokenizer.encode(text).size());
    }
  }

 private:
  static constexpr size_t kLargestBlock = 1 << 20, kMostHeld = 4 << 20;

  void end_block() {
    if (block_.empty()) return;
    // The first one is trained on in any case: a text may be one block.
    if (const uint64_t hash = hash_bytes(block_); !first_ && is_held_out(hash, hold_out_)) {
      words_.end_word();
      if (const auto [at, fresh] = held_.try_emplace(hash, std::move(block_)); fresh) held_bytes_ += at->second.size();
      for (; held_bytes_ > kMostHeld && held_.size() > 1; held_.erase(std::prev(held_.end())))
        held_bytes_ -= held_.rbegin()->second.size();
    } else {
      words_.add(block_);
    }
    block_.clear();
    first_ = false;
  }

  WordCounts& words_;
  double hold_out_;
  std::string block_;
  bool first_ = true;
  std::map<uint64_t, std::string> held_;  // by hash
  size_t held_bytes_ = 0;
};

}  // namespace

void train_tokenizer(const std::vector<std::string>& documents, int64_t vocab_size, const std::string& output,
                     const TokenizerTraining& training) {
  check(vocab_size, training);
  WordCounts words(training.table_bytes);
  for (const std::string& document : documents) {
    if (const int64_t bad = find_bad_utf8(document); bad >= 0)
      bad_input("tokenizer", "a document is not UTF-8 at byte {}", bad);
    words.add(document);
    words.end_document();
  }
  publish_text(output, train(words, vocab_size, training));
}

TokenizerReport train_tokenizer(const std::vector<std::string>& inputs, const CorpusOptions& options,
                                int64_t vocab_size, const std::string& output, const TokenizerTraining& training) {
  check(vocab_size, training);
  WordCounts words(training.table_bytes);
  TrainingText text(words, training.hold_out);
  TokenizerReport report;
  CorpusOptions of_any_size = options;
  of_any_size.largest_document = INT64_MAX;  // none is held
  CorpusReader reader(inputs, of_any_size);
  auto said = Clock::now();
  for (DocumentPart part; reader.next(part); report.documents += part.ends_document) {
    text.add(part);
    if (Clock::now() - said < training.between_reports) continue;
    said = Clock::now();
    log::info("{} MB of text read so far", reader.bytes_read() / 1'000'000);
  }
  const std::string model = train(words, vocab_size, training);
  text.measure(Tokenizer::from_bytes(model, output), report);
  publish_text(output, model);
  return report;
}

}  // namespace gta
