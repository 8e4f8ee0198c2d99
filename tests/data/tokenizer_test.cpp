#include "data/tokenizer.h"

#include <sentencepiece_trainer.h>

#include <cstring>

#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

const std::vector<std::string>& odd_texts() {
  static const std::vector<std::string> texts = {"",
                                                 " ",
                                                 "  ",
                                                 "   x",
                                                 "a",
                                                 "a  b   c",
                                                 "\n",
                                                 "\n\n\n",
                                                 "\t\tx\t",
                                                 " lead and trail ",
                                                 "line\r\nline\r\n",
                                                 "\n word\n  word\n",
                                                 std::string("nul \0 byte", 10),
                                                 "\x01\x7f",
                                                 "caf\xc3\xa9 na\xc3\xafve e\xcc\x81",
                                                 "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
                                                 "\xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
                                                 "\xef\xbc\xa1\xef\xac\x81\xc2\xa0nbsp\xe3\x80\x80",
                                                 "<s></s><unk><0x41><pad>",
                                                 "\xef\xbb\xbf"
                                                 "bom",
                                                 "\xef\xbf\xbd",
                                                 sample_text(7, 500)};
  return texts;
}

TEST(Tokenizer, DecodingGivesBackAnyText) {
  const Tokenizer& tokenizer = small_tokenizer();
  for (const std::string& text : odd_texts()) EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << testing::PrintToString(text);
}

TEST(Tokenizer, TokenBytesAddUpToTheTextAndTheSpaceBeforeIt) {
  const Tokenizer& tokenizer = small_tokenizer();
  ASSERT_TRUE(tokenizer.adds_space());
  for (const std::string& text : odd_texts()) {
    if (text.empty()) continue;
    int64_t bytes = 0;
    const std::vector<int32_t> ids = tokenizer.encode(text);
    for (int32_t id : ids) bytes += tokenizer.token_bytes(id);
    EXPECT_EQ(bytes, static_cast<int64_t>(text.size()) + 1) << testing::PrintToString(text);
    EXPECT_TRUE(tokenizer.starts_with_space(ids[0]));
  }
}

TEST(Tokenizer, ControlTokensAndBytesHaveTheirSize) {
  const Tokenizer& tokenizer = small_tokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 400);
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  for (int32_t id : {0, 1, 2}) EXPECT_EQ(tokenizer.token_bytes(id), 0);
  for (int32_t id = 3; id < 259; ++id) EXPECT_EQ(tokenizer.token_text(id), std::string(1, static_cast<char>(id - 3)));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1, 2}), "");
}

TEST(Tokenizer, ControlTokensNeverComeFromText) {
  const Tokenizer& tokenizer = small_tokenizer();
  for (int32_t id : tokenizer.encode("<s>a</s> <unk>")) EXPECT_GT(id, 2);
}

TEST(Tokenizer, TextThatIsNotUtf8IsRefusedWithItsByte) {
  EXPECT_NE(refusal([] { small_tokenizer().encode("abc\xff"); }).find("byte 3"), std::string::npos);
  EXPECT_NE(refusal([] { small_tokenizer().encode("\xe2\x96"); }).find("byte 0"), std::string::npos);
}

// The library's words: "Increase vocab_size or decrease character_coverage with --character_coverage option".
TEST(Tokenizer, ATextThatDoesNotGiveSoManyPiecesSaysHowManyItGives) {
  const TemporaryFolder folder;
  std::string characters;
  for (int i = 0; i < 600; ++i)
    for (int k = 0; k < 3; ++k) {
      const int code = 0x4e00 + i;
      characters += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
    }
  const auto number_in = [](const std::string& message, const std::string& before) {
    const size_t at = message.find(before);
    EXPECT_NE(at, std::string::npos) << message;
    return at == std::string::npos ? 0 : std::stoll(message.substr(at + before.size()));
  };
  const std::string few = refusal([&] { train_tokenizer({characters}, 300, folder.path("few.model")); });
  const int64_t least = number_in(few, "more than 300: ask for at least ");
  EXPECT_GE(least, 600 + 256) << few;
  train_tokenizer({characters}, least, folder.path("least.model"));
  EXPECT_EQ(Tokenizer::load(folder.path("least.model")).vocab_size(), least);

  const std::string text = sample_text(9, 1000), many = refusal([&] { train_tokenizer({text}, 50000, folder.path("many.model")); });
  const int64_t most = number_in(many, "this text gives at most ");
  train_tokenizer({text}, most, folder.path("most.model"));
  EXPECT_EQ(Tokenizer::load(folder.path("most.model")).vocab_size(), most);
  EXPECT_NE(refusal([&] { train_tokenizer({"three words only"}, 5000, folder.path("short.model")); }).find("not 5000: give more text"), std::string::npos)
      << "fewer than 300 are not to be had";
  for (const std::string& message : {few, many}) EXPECT_EQ(message.find("vocab_size"), std::string::npos) << message;
}

TEST(Tokenizer, TokensOutsideTheVocabularyAreRefused) {
  for (int32_t id : {-1, 400, 1 << 30}) {
    EXPECT_NE(refusal([&] { small_tokenizer().token_bytes(id); }).find(std::to_string(id)), std::string::npos);
    refusal([&] { small_tokenizer().decode(std::vector<int32_t>{5, id}); });
  }
}

TEST(Tokenizer, SurvivesTheWayThroughItsBytes) {
  const Tokenizer again = Tokenizer::from_bytes(small_tokenizer().bytes(), "again");
  EXPECT_EQ(again.hash(), small_tokenizer().hash());
  EXPECT_EQ(again.encode("The quick brown fox"), small_tokenizer().encode("The quick brown fox"));
}

// The library follows the normaliser's trie wherever it leads: a file that leads it astray must not get that far.
TEST(Tokenizer, ANormaliserIsTakenWholeAndRefusedWhenItLeadsOutOfItself) {
  const TemporaryFolder folder;
  const std::string text = folder.write("text.txt", sample_text(3, 3000));
  ASSERT_TRUE(sentencepiece::SentencePieceTrainer::Train("--input=" + text + " --model_prefix=" + folder.path("nfkc") +
                                                         " --vocab_size=80 --normalization_rule_name=nmt_nfkc --minloglevel=2")
                  .ok());
  const std::string good = bytes_of(folder.path("nfkc.model"));
  const Tokenizer tokenizer = Tokenizer::from_bytes(good, "nfkc");
  EXPECT_EQ(tokenizer.encode("\xef\xac\x81lo \xef\xbc\xa1"), tokenizer.encode("filo A")) << "a ligature and a wide letter are normalised";

  // The map begins after its key (field 2, bytes) and its length; the trie after its own length.
  size_t map = std::string::npos;
  uint32_t trie_bytes = 0;
  for (size_t at = 0; at + 8 < good.size() && map == std::string::npos; ++at) {
    std::memcpy(&trie_bytes, good.data() + at + 4, sizeof trie_bytes);
    if (good[at] == 0x12 && trie_bytes > 100000 && trie_bytes < good.size() - at && trie_bytes % 1024 == 0) map = at + 4;
  }
  ASSERT_NE(map, std::string::npos);
  const auto changed = [&](size_t at, uint32_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return refusal([&] { Tokenizer::from_bytes(bytes, "changed"); });
  };
  EXPECT_NE(changed(map, trie_bytes - 2).find("does not fit"), std::string::npos);
  EXPECT_NE(changed(map, 0x7ffffffc).find("does not fit"), std::string::npos);
  EXPECT_NE(changed(map, 0).find("is empty"), std::string::npos);
  // Units: an offset beyond the end; a leaf whose text lies beyond the texts.
  EXPECT_NE(changed(map + 4, 0x7ffffc00).find("leads out of itself"), std::string::npos);
  uint32_t leaves = 0;
  for (size_t at = map + 4; at < map + 4 + trie_bytes && leaves < 3; at += 4) {
    uint32_t unit = 0;
    std::memcpy(&unit, good.data() + at, sizeof unit);
    if (unit >> 31 == 0) continue;
    ++leaves;
    EXPECT_NE(changed(at, 0xffffffff).find("leads out of its texts"), std::string::npos);
  }
  EXPECT_EQ(leaves, 3u);
}

TEST(Tokenizer, PiecesWithAZeroByteAreRefused) {
  std::string bytes = small_tokenizer().bytes();
  const size_t piece = bytes.find("ker");
  ASSERT_NE(piece, std::string::npos);
  bytes[piece] = '\0';
  EXPECT_NE(refusal([&] { Tokenizer::from_bytes(bytes, "zero"); }).find("a piece holds a zero byte"), std::string::npos);
}

TEST(Tokenizer, FilesThatAreNoTokenizerAreRefused) {
  const TemporaryFolder folder;
  EXPECT_NE(refusal([&] { Tokenizer::load(folder.path("absent.model")); }).find("absent.model"), std::string::npos);
  EXPECT_NE(refusal([&] { Tokenizer::load(folder.path()); }).find(folder.path()), std::string::npos);
  for (const std::string& bytes :
       {std::string(), std::string("text"), std::string(1000, '\0'), std::string("\x89HDF\r\n\x1a\n"), sample_text(1, 50)})
    EXPECT_NE(refusal([&] { Tokenizer::load(folder.write("a.model", bytes)); }).find("a.model"), std::string::npos);
}

// Whatever a damaged file still says, it must not crash the program or be used with a hash that is not its own.
TEST(Tokenizer, DamagedFilesAreRefusedOrLoadWithAnotherHash) {
  const std::string& good = small_tokenizer().bytes();
  const auto try_bytes = [&](const std::string& bytes) {
    try {
      const Tokenizer tokenizer = Tokenizer::from_bytes(bytes, "damaged");
      EXPECT_NE(tokenizer.hash(), small_tokenizer().hash());
      tokenizer.decode(tokenizer.encode("The quick brown fox, \xf0\x9f\x98\x80.\n"));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_FALSE(std::string(error.what()).empty());
    }
  };
  for (size_t size = 0; size < good.size(); size += 53) try_bytes(good.substr(0, size));
  for (size_t at = 0; at < good.size(); at += 7) {
    for (unsigned char flip : {0x01, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      try_bytes(bytes);
    }
  }
}

// A model as others train it.
Tokenizer trained_elsewhere(const std::string& settings) {
  class Lines : public sentencepiece::SentenceIterator {
   public:
    bool done() const override { return at_ == 200; }
    void Next() override { text_ = sample_text(++at_, 20), text_.erase(std::remove(text_.begin(), text_.end(), '\n'), text_.end()); }
    const std::string& value() const override { return text_; }
    sentencepiece::util::Status status() const override { return {}; }

   private:
    int at_ = 0;
    std::string text_ = "aback to begin with";
  } lines;
  std::string model;
  EXPECT_TRUE(sentencepiece::SentencePieceTrainer::Train("--model_type=bpe --vocab_size=350 --byte_fallback=true --minloglevel=3 "
                                                         "--normalization_rule_name=identity --remove_extra_whitespaces=false " + settings,
                                                         &lines, &model)
                  .ok());
  return Tokenizer::from_bytes(model, "elsewhere");
}

TEST(Tokenizer, WithoutATokenBetweenDocumentsThereAreNone) {
  for (const auto& [settings, more] : {std::pair{"--bos_id=-1 --eos_id=1 --unk_id=0", 1u}, {"--bos_id=1 --eos_id=-1 --unk_id=0", 1u}, {"", 2u}}) {
    const Tokenizer tokenizer = trained_elsewhere(settings);
    EXPECT_EQ(tokenizer.encode_document("words").size(), tokenizer.encode("words").size() + more) << settings;
  }
  const Tokenizer neither = trained_elsewhere("--bos_id=-1 --eos_id=-1 --unk_id=0");
  EXPECT_NE(refusal([&] { neither.encode_document("words"); }).find("neither a begin- nor an end-of-document token"), std::string::npos);
}

TEST(Tokenizer, WithoutADummyPrefixAddsAndTakesAwayNothing) {
  const Tokenizer tokenizer = trained_elsewhere("--add_dummy_prefix=false");
  EXPECT_FALSE(tokenizer.adds_space());
  for (const std::string& text : odd_texts()) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << testing::PrintToString(text);
    int64_t bytes = 0;
    for (int32_t id : tokenizer.encode(text)) bytes += tokenizer.token_bytes(id);
    EXPECT_EQ(bytes, static_cast<int64_t>(text.size())) << testing::PrintToString(text);
  }
}

std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TEST(StreamDecoder, GivesTheSameTextAsDecodingAtOnce) {
  for (const std::string& text : odd_texts())
    EXPECT_EQ(stream(small_tokenizer(), small_tokenizer().encode(text)), text) << testing::PrintToString(text);
}

TEST(StreamDecoder, HoldsACharacterBackUntilItIsComplete) {
  StreamDecoder decoder(small_tokenizer());
  const std::string emoji = "\xf0\x9f\x98\x80";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(decoder.push(3 + static_cast<unsigned char>(emoji[i])), "");
  EXPECT_EQ(decoder.push(3 + static_cast<unsigned char>(emoji[3])), emoji);
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, BytesThatAreNoTextBecomeReplacementCharacters) {
  const std::string replacement = "\xef\xbf\xbd";
  EXPECT_EQ(stream(small_tokenizer(), {3 + 0xff, 3 + 'a'}), replacement + "a");
  EXPECT_EQ(stream(small_tokenizer(), {3 + 0x80}), replacement);
  EXPECT_EQ(stream(small_tokenizer(), {3 + 0xc3, 3 + 'a'}), replacement + "a");
  EXPECT_EQ(stream(small_tokenizer(), {3 + 'a', 3 + 0xc3}), "a" + replacement);  // never completed
}

TEST(TrainTokenizer, SameTextGivesTheSameFileQuietly) {
  const TemporaryFolder folder;
  testing::internal::CaptureStderr();
  train_tokenizer({sample_text(1, 3000)}, 350, folder.path("a.model"));
  train_tokenizer({sample_text(1, 3000)}, 350, folder.path("b.model"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(bytes_of(folder.path("a.model")), bytes_of(folder.path("b.model")));
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"a.model", "b.model"}));
}

TEST(TrainTokenizer, FilesGiveTheSamePiecesAsTheirDocuments) {
  const TemporaryFolder folder;
  const std::string text = sample_text(1, 3000);
  train_tokenizer({text, "a second document\n"}, 350, folder.path("a.model"));
  EXPECT_EQ(train_tokenizer({folder.write("1.txt", text), folder.write("2.txt", "a second document\n")}, CorpusOptions{}, 350,
                            folder.path("b.model")),
            2);
  EXPECT_EQ(bytes_of(folder.path("a.model")), bytes_of(folder.path("b.model")));
}

TEST(TrainTokenizer, OfTooMuchTextAnEvenSampleIsUsed) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 4000; ++i) text += i < 2000 ? "earlier words only here\n" : "wholly different later text\n";
  const std::string path = folder.write("a.txt", text);
  train_tokenizer({path}, CorpusOptions{}, 300, folder.path("a.model"), 5000);
  const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
  // Characters of both halves are known, not spelt in bytes: 256 bytes and three control tokens come first.
  for (int32_t id : tokenizer.encode("yrwf")) EXPECT_GE(id, 259);
  EXPECT_LT(tokenizer.encode("earlier").size(), 7u);
  EXPECT_LT(tokenizer.encode("wholly").size(), 6u);
}

TEST(TrainTokenizer, LearnsFromTabbedAndFromVeryLongLines) {
  const TemporaryFolder folder;
  std::string tabbed, one_line, no_spaces;
  for (int i = 0; i < 300; ++i) tabbed += "\tindented words\tand more words\n";
  for (int i = 0; i < 30000; ++i) one_line += "endless sentence ";
  for (int i = 0; i < 30000; ++i) no_spaces += "\xe6\x97\xa5\xe6\x9c\xac";
  for (const auto& [text, word, pieces] :
       {std::tuple{tabbed, "indented", 2u}, {one_line, "sentence", 2u}, {no_spaces, "\xe6\x97\xa5\xe6\x9c\xac", 2u}}) {
    train_tokenizer({text, sample_text(1, 300)}, 340, folder.path("a.model"));
    const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
    EXPECT_LE(tokenizer.encode(word).size(), pieces) << word;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(TrainTokenizer, RefusesWhatItCannotDoAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string out = folder.path("a.model");
  EXPECT_NE(refusal([&] { train_tokenizer({"a few words"}, 4000, out); }).find("4000"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({"a few words"}, 299, out); }).find("expected 300 to 1048576 pieces"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({sample_text(1, 3000)}, (1 << 20) + 1, out); }).find("expected 300 to 1048576 pieces"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({folder.path()}, CorpusOptions{}, 300, out, 0); }).find("positive number of bytes"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({}, 300, out); }).find("there is no text to train on"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({"\n\t\n"}, 300, out); }).find("there is no text to train on"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({"words \xff"}, 300, out); }).find("byte 6"), std::string::npos);
  EXPECT_EQ(folder.names(), std::vector<std::string>{});
}

}  // namespace
}  // namespace gta
