// What the tests of data/ share: a fresh folder, files in it, a small tokenizer, and the message of a refusal.
#pragma once

#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/corpus.h"
#include "data/tokenizer.h"
#include "tests/write_shards.h"

namespace gta {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gta-data-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  std::string path_;
};

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The message of the Error that `f` must throw.
inline std::string refusal(const std::function<void()>& f, ErrorKind kind = ErrorKind::BadInput) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

inline std::vector<std::string> documents_of(const std::vector<std::string>& inputs,
                                             const CorpusOptions& options = {}) {
  std::vector<std::string> documents;
  read_documents(inputs, options, [&](std::string&& document) { documents.push_back(std::move(document)); });
  return documents;
}

// Text with enough different words for a few hundred pieces; another one for each seed.
inline std::string sample_text(uint64_t seed, int words) {
  const char* syllables[] = {"ba", "ker", "lo",  "min", "shu",       "tra",
                             "ve", "yon", "gor", "pil", "\xc3\xa9t", "\xc3\xbcr"};
  std::string text;
  uint64_t state = seed * 2654435761u + 12345;
  for (int i = 0; i < words; ++i) {
    for (uint64_t k = 0; k <= (state >> 40) % 3; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += syllables[(state >> 33) % std::size(syllables)];
    }
    state = state * 6364136223846793005u + 1442695040888963407u;
    text += (state >> 33) % 17 == 0 ? ".\n" : (state >> 33) % 23 == 0 ? ", " : " ";
  }
  return text;
}

// Trained once for the whole program: 400 pieces with BOS and EOS.
inline const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer = [] {
    const TemporaryFolder folder;
    train_tokenizer({sample_text(1, 4000), "The quick brown fox jumps over the lazy dog.\n"}, 400,
                    folder.path("small.model"));
    return Tokenizer::load(folder.path("small.model"));
  }();
  return tokenizer;
}

// Source code of a kind: indented, with empty lines, tabs and line ends of both kinds.
inline std::string sample_code(uint64_t seed, int lines) {
  std::string text;
  uint64_t state = seed * 2654435761u + 12345;
  for (int i = 0; i < lines; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t kind = (state >> 33) % 10;
    text += kind == 0 ? "\t\t" : std::string(4 * ((state >> 40) % 4), ' ');
    text += kind < 3 ? "return value;" : kind < 6 ? "if (value == 1024) {" : kind < 9 ? "}" : "value  = size;   // odd";
    text += kind == 5 ? "\r\n" : kind < 8 ? "\n" : "\n\n";
  }
  return text;
}

// Trained once for the whole program: 400 pieces, many of them of white space.
inline const Tokenizer& code_tokenizer() {
  static const Tokenizer tokenizer = [] {
    const TemporaryFolder folder;
    train_tokenizer({sample_code(1, 3000), sample_text(1, 2000)}, 400, folder.path("code.model"));
    return Tokenizer::load(folder.path("code.model"));
  }();
  return tokenizer;
}

// A model as others train it.
inline Tokenizer trained_elsewhere(const std::string& settings) {
  class Lines : public sentencepiece::SentenceIterator {
   public:
    bool done() const override { return at_ == 200; }
    void Next() override {
      text_ = sample_text(++at_, 20), text_.erase(std::remove(text_.begin(), text_.end(), '\n'), text_.end());
    }
    const std::string& value() const override { return text_; }
    sentencepiece::util::Status status() const override { return {}; }

   private:
    int at_ = 0;
    std::string text_ = "aback to begin with";
  } lines;
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train("--minloglevel=3 " + settings, &lines, &model);
  EXPECT_TRUE(status.ok()) << settings << status.ToString();
  return Tokenizer::from_bytes(model, "elsewhere");
}

// It has no piece for most characters, and none for bytes.
inline const Tokenizer& tokenizer_that_loses_text() {
  static const Tokenizer tokenizer = trained_elsewhere(
      "--model_type=bpe --vocab_size=100 --normalization_rule_name=identity --remove_extra_whitespaces=false "
      "--character_coverage=1");
  return tokenizer;
}

}  // namespace gta
