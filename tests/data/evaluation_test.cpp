#include "data/evaluation.h"

#include <fmt/format.h>

#include "core/io/hdf5.h"
#include "data/document_mask.h"
#include "data/shards.h"
#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

CorpusOptions by_empty_lines() {
  CorpusOptions options;
  options.document_separator = "";
  return options;
}

// (previous token, label) of every scored position, in order.
std::vector<std::pair<int32_t, int32_t>> scored(const EvaluationSet& set) {
  const int64_t length = set.sequence_length();
  std::vector<std::pair<int32_t, int32_t>> pairs;
  std::vector<int32_t> tokens(length), labels(length);
  for (int64_t w = 0; w < set.windows(); ++w) {
    set.window(w, tokens.data(), labels.data());
    for (int64_t i = 0; i < length; ++i)
      if (labels[i] >= 0) pairs.emplace_back(tokens[i], labels[i]);
  }
  return pairs;
}

const std::vector<std::string>& documents() {
  static const std::vector<std::string> all = {"In the beginning\n", "  spaces first\nand \xf0\x9f\x98\x80 more\n", "x",
                                               sample_text(3, 300), "\tend"};
  return all;
}

std::vector<std::pair<int32_t, int32_t>> expected_pairs() {
  std::vector<std::pair<int32_t, int32_t>> pairs;
  for (const std::string& document : documents()) {
    const std::vector<int32_t> ids = small_tokenizer().encode_document(document);
    for (size_t i = 1; i < ids.size(); ++i) pairs.emplace_back(ids[i - 1], ids[i]);
  }
  return pairs;
}

int64_t text_bytes() {
  int64_t bytes = 0;
  for (const std::string& document : documents()) bytes += static_cast<int64_t>(document.size());
  return bytes;
}

struct Files {
  TemporaryFolder folder;
  std::vector<std::string> inputs, shards;
  explicit Files(int64_t shard_tokens = 1000) {
    for (size_t i = 0; i < documents().size(); ++i)
      inputs.push_back(folder.write(std::to_string(i) + ".txt", documents()[i]));
    shards = write_shards(small_tokenizer(), inputs, {}, folder.path(), "validation", shard_tokens);
  }
};

TEST(EvaluationSet, ScoresEveryTokenAfterTheFirstOfADocumentOnce) {
  const auto expected = expected_pairs();
  for (int64_t shard_tokens : {1, 30, 100000}) {
    const Files files(shard_tokens);
    for (int64_t length : {1, 2, 7, 64, 100000}) {
      const EvaluationSet set = EvaluationSet::from_shards(files.shards, small_tokenizer(), length, 0);
      EXPECT_EQ(scored(set), expected) << length;
      EXPECT_EQ(set.scored_tokens(), static_cast<int64_t>(expected.size()));
    }
  }
}

TEST(EvaluationSet, RowsKnowWhereTheirDocumentBegins) {
  const Files files(30);
  std::vector<int32_t> first;  // of the document of each token, in the stream of all
  for (const std::string& document : documents())
    first.resize(first.size() + small_tokenizer().encode_document(document).size(), static_cast<int32_t>(first.size()));
  for (int64_t asked : {1, 2, 7, 64, 1000}) {
    const EvaluationSet set = EvaluationSet::from_shards(files.shards, small_tokenizer(), asked, 0);
    const int64_t length = set.sequence_length();
    std::vector<int32_t> tokens(length), labels(length), starts(length);
    int64_t inside = 0;
    for (int64_t w = 0; w < set.windows(); ++w) {
      set.window(w, tokens.data(), labels.data(), starts.data());
      for (int64_t i = 0; i < length; ++i) {
        const int64_t at = w * length + i;
        if (labels[i] == kNoLabel && at + 1 >= static_cast<int64_t>(first.size())) continue;  // padding
        EXPECT_EQ(starts[i], std::max<int64_t>(0, first[at] - w * length))
            << length << ", window " << w << ", row " << i;
        inside += starts[i] > 0;
      }
    }
    EXPECT_TRUE(length <= 2 || inside > 0) << length;  // of 2, all documents may have an even number of tokens
  }
}

// Also in windows that show a part of one, and in a set that is a part of the shards.
TEST(EvaluationSet, LabelsKnowHowLongTheirDocumentIs) {
  const Files files(30);
  std::vector<int32_t> stream;
  std::vector<int64_t> lengths;  // of the document of each token
  for (const std::string& document : documents()) {
    const std::vector<int32_t> ids = small_tokenizer().encode_document(document);
    stream.insert(stream.end(), ids.begin(), ids.end());
    lengths.resize(stream.size(), static_cast<int64_t>(ids.size()));
  }
  const auto expect_lengths = [&](const EvaluationSet& set, const std::string& what) {
    const int64_t length = set.sequence_length();
    std::vector<int32_t> tokens(length), labels(length);
    std::vector<int64_t> of_labels(length);
    int64_t found = 0;
    for (int64_t w = 0; w < set.windows(); ++w) {
      set.window(w, tokens.data(), labels.data(), nullptr, of_labels.data());
      // Where the window is: at the one place that has its tokens.
      const auto inside = std::find(tokens.begin(), tokens.end(), 0);
      const auto at = std::search(stream.begin(), stream.end(), tokens.begin(), inside);
      ASSERT_TRUE(at != stream.end()) << what << ", window " << w;
      for (int64_t i = 0; i < length; ++i) {
        const int64_t expected = labels[i] == kNoLabel ? 0 : lengths[at - stream.begin() + i];
        EXPECT_EQ(of_labels[i], expected) << what << ", window " << w << ", row " << i;
        found += of_labels[i] > 0;
      }
    }
    EXPECT_EQ(found, set.scored_tokens()) << what;
  };
  for (const int64_t asked : {16, 40, 1000}) {
    const EvaluationSet whole = EvaluationSet::from_shards(files.shards, small_tokenizer(), asked, 0);
    expect_lengths(whole, fmt::format("shards, windows of {}", asked));
    expect_lengths(whole.with_stride(whole.sequence_length() / 3 + 1), fmt::format("a stride in {}", asked));
    expect_lengths(EvaluationSet::from_files(files.inputs, {}, small_tokenizer(), asked),
                   fmt::format("files, {}", asked));
  }
  for (const int64_t most : {20, 50, 100})
    expect_lengths(EvaluationSet::from_shards(files.shards, small_tokenizer(), 16, most),
                   fmt::format("{} tokens", most));
}

TEST(EvaluationSet, ScoredBytesOfWholeDocumentsAreThoseOfTheText) {
  const Files files;
  EXPECT_EQ(EvaluationSet::from_shards(files.shards, small_tokenizer(), 16, 0).scored_bytes(), text_bytes());
  EXPECT_EQ(EvaluationSet::from_files(files.inputs, {}, small_tokenizer(), 16).scored_bytes(), text_bytes());
  for (const std::string& document : documents())
    EXPECT_EQ(EvaluationSet::from_text(document, small_tokenizer(), 16).scored_bytes(),
              static_cast<int64_t>(document.size()));
}

// Bytes are those of the text: what a tokenizer drops has no tokens, and would make bits per byte as large or as small
// as one likes.
TEST(EvaluationSet, BytesThatATokenizerLosesCount) {
  const TemporaryFolder folder;
  std::string chinese, spaces = "lo";
  for (int i = 0; i < 450; ++i) chinese += "\xe6\x97\xa5";
  spaces += std::string(1497, ' ') + "min" + std::string(598, ' ') + "\n";
  const std::string mark = "a\xe2\x96\x81 \xe2\x96\x81!";  // U+2581
  const Tokenizer joining =
      trained_elsewhere("--model_type=unigram --vocab_size=100 --normalization_rule_name=nmt_nfkc");
  for (const std::string& text : {chinese, spaces, mark, chinese + " lo " + spaces}) {
    const auto bytes = static_cast<int64_t>(text.size());
    const std::string file = folder.write("a.txt", text);
    for (const Tokenizer& tokenizer : {small_tokenizer(), tokenizer_that_loses_text(), joining}) {
      EXPECT_EQ(EvaluationSet::from_text(text, tokenizer, 8).scored_bytes(), bytes);
      const EvaluationSet set = EvaluationSet::from_files({file}, {}, tokenizer, 8);
      EXPECT_EQ(set.scored_bytes(), bytes);
      const bool lost = tokenizer.decode(tokenizer.encode(text)) != text;
      EXPECT_EQ(set.lost_text().empty(), !lost);
      testing::internal::CaptureStderr();
      const auto shards = write_shards(tokenizer, {file, file}, {}, folder.path("shards"), "a");
      EXPECT_EQ(testing::internal::GetCapturedStderr().find("do not come back") != std::string::npos, lost);
      const EvaluationSet all = EvaluationSet::from_shards(shards, tokenizer, 8, 0);
      EXPECT_EQ(all.scored_bytes(), 2 * bytes);
      const EvaluationSet half = EvaluationSet::from_shards(shards, tokenizer, 8, all.scored_tokens() / 2);
      EXPECT_NEAR(half.scored_tokens(), all.scored_tokens() / 2, 1);
      if (!tokenizer.gives_text_back())
        EXPECT_EQ(half.scored_bytes(), 2 * bytes * half.scored_tokens() / all.scored_tokens());
    }
  }
}

TEST(EvaluationSet, APartIsSpreadOverAllAndAlwaysTheSame) {
  TemporaryFolder folder;
  std::vector<std::string> inputs;
  std::vector<int32_t> stream;      // of all documents
  std::vector<bool> begins;         // a document
  std::vector<int64_t> text_bytes;  // of each token
  for (int i = 0; i < 12; ++i) {
    const std::string text = sample_text(static_cast<uint64_t>(i) + 20, 100 + 37 * i);
    inputs.push_back(folder.write(std::to_string(i) + ".txt", text));
    const std::vector<int32_t> ids = small_tokenizer().encode_document(text);
    for (size_t j = 0; j < ids.size(); ++j) {
      stream.push_back(ids[j]);
      begins.push_back(j == 0);
      text_bytes.push_back(
          j == 0 ? 0
                 : static_cast<int64_t>(small_tokenizer().decode({ids.begin(), ids.begin() + j + 1}).size() -
                                        small_tokenizer().decode({ids.begin(), ids.begin() + j}).size()));
    }
  }
  const auto shards = write_shards(small_tokenizer(), inputs, {}, folder.path(), "validation", 200);
  ASSERT_GT(shards.size(), 4u);
  const auto total = static_cast<int64_t>(stream.size());
  for (int64_t length : {1, 3, 16, 50})
    for (int64_t most : {int64_t{1}, int64_t{40}, int64_t{200}, total * 9 / 10}) {
      SCOPED_TRACE(fmt::format("{} of {} tokens in windows of {}", most, total, length));
      const EvaluationSet set = EvaluationSet::from_shards(shards, small_tokenizer(), length, most);
      EXPECT_EQ(set.tokens_in_all(), total - 12);
      // The same by the definition: chunk c begins at c T / C, and ends where it is full or the next one begins.
      const int64_t chunks = (most + length - 1) / length;
      std::vector<std::pair<int32_t, int32_t>> expected;
      int64_t bytes = 0;
      for (int64_t c = 0; c < chunks; ++c)
        for (int64_t i = c * total / chunks + 1;
             i <= std::min({c * total / chunks + length, (c + 1) * total / chunks, total - 1}); ++i) {
          if (begins[i] || static_cast<int64_t>(expected.size()) == most) continue;
          expected.emplace_back(stream[i - 1], stream[i]);
          bytes += text_bytes[i];
        }
      EXPECT_EQ(scored(set), expected);
      EXPECT_EQ(set.scored_tokens(), static_cast<int64_t>(expected.size()));
      EXPECT_LE(set.scored_tokens(), most);
      EXPECT_GT(set.scored_tokens(), most / 2 - 1);
      EXPECT_EQ(set.scored_bytes(), bytes);
    }
}

TEST(EvaluationSet, TextFilesSplitBySeparator) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.txt", "one two\n\nthree\n");
  const EvaluationSet set = EvaluationSet::from_files({path}, by_empty_lines(), small_tokenizer(), 8);
  EXPECT_EQ(set.scored_bytes(), 8 + 6);
  const auto first = small_tokenizer().encode_document("one two\n"),
             second = small_tokenizer().encode_document("three\n");
  EXPECT_EQ(set.scored_tokens(), static_cast<int64_t>(first.size() + second.size()) - 2);
}

TEST(EvaluationSet, NothingToScoreHasNoWindows) {
  const TemporaryFolder folder;
  const EvaluationSet set = EvaluationSet::from_files({folder.write("a.txt", "")}, {}, small_tokenizer(), 8);
  EXPECT_EQ(set.windows(), 0);
  EXPECT_EQ(set.scored_tokens(), 0);
}

TEST(EvaluationSet, PaddingIsAValidTokenWithoutALabel) {
  const EvaluationSet set = EvaluationSet::from_text(sample_text(3, 300), small_tokenizer(), 100);
  const int64_t last = set.windows() - 1, used = set.scored_tokens() - 100 * last;
  ASSERT_GT(last, 0);
  ASSERT_LT(used, 100);
  std::vector<int32_t> tokens(100), labels(100);
  set.window(last, tokens.data(), labels.data());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(labels[i] == kNoLabel, i >= used);
  for (int32_t token : tokens) EXPECT_TRUE(token >= 0 && token < small_tokenizer().vocab_size());
}

TEST(EvaluationSet, RefusesWhatCannotBeScored) {
  const Files files;
  refusal([&] { EvaluationSet::from_shards(files.shards, small_tokenizer(), 0, 0); }, ErrorKind::Internal);
  refusal([&] { EvaluationSet::from_shards(files.shards, small_tokenizer(), 8, -1); });
  refusal([&] { EvaluationSet::from_text("bad \xff", small_tokenizer(), 8); });
  const EvaluationSet set = EvaluationSet::from_text("a", small_tokenizer(), 8);
  std::vector<int32_t> tokens(8), labels(8);
  for (int64_t index : {int64_t{-1}, set.windows()})
    refusal([&] { set.window(index, tokens.data(), labels.data()); }, ErrorKind::Internal);
  const TemporaryFolder folder;
  train_tokenizer({sample_text(9, 4000)}, 400, folder.path("other.model"));
  refusal([&] { EvaluationSet::from_shards(files.shards, Tokenizer::load(folder.path("other.model")), 8, 0); });
  std::string bytes = bytes_of(files.shards[0]);
  bytes[hdf5::Reader(files.shards[0]).dataset("/tokens").offset + 3] ^= 2;
  EXPECT_NE(refusal([&] {
              EvaluationSet::from_shards({folder.write("damaged.h5", bytes)}, small_tokenizer(), 8, 0);
            }).find("damaged.h5"),
            std::string::npos);
}

}  // namespace
}  // namespace gta
