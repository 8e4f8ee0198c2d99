#include "data/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "data/text_cutter.h"
#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

const std::vector<std::string>& odd_texts() {
  static const std::vector<std::string> texts = {
      "", " ", "  ", "   x", "a", "a  b   c", "\n", "\n\n\n", "\t\tx\t", " lead and trail ", "line\r\nline\r\n",
      "\n word\n  word\n", std::string("nul \0 byte", 10), "\x01\x7f", "caf\xc3\xa9 na\xc3\xafve e\xcc\x81",
      "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
      "\xef\xbc\xa1\xef\xac\x81\xc2\xa0nbsp\xe3\x80\x80", "<s></s><unk><0x41><pad>",
      "\xef\xbb\xbf"
      "bom",
      "\xef\xbf\xbd",
      // U+2581, which stands for a space in pieces, and U+2585, for an unknown piece in training
      "\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81 a",
      "a\xe2\x96\x81"
      "b \xe2\x96\x81 c\xe2\x96\x81",
      " \xe2\x96\x81", "x\xe2\x96\x85y", sample_text(7, 500),
      // Runs of white space, of all lengths and kinds, and beside each other's pieces
      std::string(7, ' '), std::string(100, ' '), "    \n", "\n    ", "\n    \n\n  \t\n", "\t", "\t\t\t\t\t", " \t \t ",
      "\r", "\r\r\n\n\r", "{\n\tx;\r\n}\n", ";\n\n        return value;\n", "a" + std::string(17, ' ') + "b",
      "\xe3\x80\x82\n  \xe3\x80\x82", "   \xe2\x96\x81   ", "\n\xe2\x96\x81\n", "\x01\n\x01\t\x01",
      "\v\f\x1c\xc2\x85\xe2\x80\xa8", sample_code(7, 100)};
  return texts;
}

TEST(Tokenizer, DecodingGivesBackAnyText) {
  for (const Tokenizer& tokenizer : {small_tokenizer(), code_tokenizer()})
    for (const std::string& text : odd_texts())
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << testing::PrintToString(text);
}

TEST(Tokenizer, TokenBytesAddUpToTheTextAndTheSpaceBeforeIt) {
  for (const Tokenizer& tokenizer : {small_tokenizer(), code_tokenizer()}) {
    ASSERT_TRUE(tokenizer.adds_space());
    for (const std::string& text : odd_texts()) {
      if (text.empty()) continue;
      int64_t bytes = 0;
      const std::vector<int32_t> ids = tokenizer.encode(text);
      for (int32_t id : ids) bytes += tokenizer.token_bytes(id);
      const bool space = !text.starts_with("\xe2\x96\x81");  // which is spelt in bytes
      EXPECT_EQ(bytes, static_cast<int64_t>(text.size()) + space) << testing::PrintToString(text);
      EXPECT_EQ(tokenizer.starts_with_space(ids[0]), space);
    }
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

// Beside what the library says of the same bytes.
TEST(Tokenizer, ShowsItsPiecesAsExportsWantThem) {
  const Tokenizer unigram = trained_elsewhere(
      "--model_type=unigram --vocab_size=100 --user_defined_symbols=<sep>,<cls> --pad_id=3 --byte_fallback=false");
  for (const auto& [tokenizer, kind] : {std::pair{small_tokenizer(), TokenizerKind::BytePairEncoding},
                                        {unigram, TokenizerKind::Unigram},
                                        {tokenizer_that_loses_text(), TokenizerKind::BytePairEncoding}}) {
    EXPECT_EQ(tokenizer.kind(), kind);
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(tokenizer.bytes()).ok());
    ASSERT_EQ(tokenizer.vocab_size(), library.GetPieceSize());
    std::map<PieceType, int> types;
    for (int id = 0; id < library.GetPieceSize(); ++id) {
      const TokenPiece& piece = tokenizer.piece(id);
      EXPECT_EQ(piece.text, library.IdToPiece(id)) << id;
      EXPECT_EQ(piece.score, library.GetScore(id)) << id;
      EXPECT_EQ(piece.type == PieceType::Byte, library.IsByte(id)) << id;
      EXPECT_EQ(piece.type == PieceType::Control, library.IsControl(id)) << id;
      EXPECT_EQ(piece.type == PieceType::Unknown, library.IsUnknown(id)) << id;
      EXPECT_EQ(piece.type == PieceType::Unused, library.IsUnused(id)) << id;
      ++types[piece.type];
    }
    EXPECT_EQ(tokenizer.unknown(), library.unk_id());
    EXPECT_EQ(tokenizer.padding(), library.pad_id());
    EXPECT_EQ(types[PieceType::Byte], kind == TokenizerKind::Unigram || types[PieceType::Byte] == 0 ? 0 : 256);
    EXPECT_THROW(tokenizer.piece(library.GetPieceSize()), Error);
    EXPECT_THROW(tokenizer.piece(-1), Error);
  }
  EXPECT_EQ(unigram.piece(unigram.padding()).type, PieceType::Control);
  int user_defined = 0;
  for (int32_t id = 0; id < unigram.vocab_size(); ++id)
    if (unigram.piece(id).type == PieceType::UserDefined)
      user_defined += unigram.piece(id).text == "<sep>" || unigram.piece(id).text == "<cls>";
  EXPECT_EQ(user_defined, 2);
  EXPECT_TRUE(unigram.joins_spaces());
  EXPECT_FALSE(small_tokenizer().joins_spaces());
  EXPECT_TRUE(unigram.normalises());
  EXPECT_FALSE(small_tokenizer().normalises());
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
      characters += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
                     static_cast<char>(0x80 | (code & 0x3f))};
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

  const std::string text = sample_text(9, 1000),
                    many = refusal([&] { train_tokenizer({text}, 50000, folder.path("many.model")); });
  const int64_t most = number_in(many, "this text gives at most ");
  train_tokenizer({text}, most, folder.path("most.model"));
  EXPECT_EQ(Tokenizer::load(folder.path("most.model")).vocab_size(), most);
  EXPECT_NE(refusal([&] {
              train_tokenizer({"three words only"}, 5000, folder.path("short.model"));
            }).find("not 5000: give more text"),
            std::string::npos)
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
  ASSERT_TRUE(
      sentencepiece::SentencePieceTrainer::Train("--input=" + text + " --model_prefix=" + folder.path("nfkc") +
                                                 " --vocab_size=80 --normalization_rule_name=nmt_nfkc --minloglevel=2")
          .ok());
  const std::string good = bytes_of(folder.path("nfkc.model"));
  const Tokenizer tokenizer = Tokenizer::from_bytes(good, "nfkc");
  EXPECT_EQ(tokenizer.encode("\xef\xac\x81lo \xef\xbc\xa1"), tokenizer.encode("filo A"))
      << "a ligature and a wide letter are normalised";

  // The map begins after its key (field 2, bytes) and its length; the trie after its own length.
  size_t map = std::string::npos;
  uint32_t trie_bytes = 0;
  for (size_t at = 0; at + 8 < good.size() && map == std::string::npos; ++at) {
    std::memcpy(&trie_bytes, good.data() + at + 4, sizeof trie_bytes);
    if (good[at] == 0x12 && trie_bytes > 100000 && trie_bytes < good.size() - at && trie_bytes % 1024 == 0)
      map = at + 4;
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
  EXPECT_NE(refusal([&] { Tokenizer::from_bytes(bytes, "zero"); }).find("a piece holds a zero byte"),
            std::string::npos);
}

// Exports sort pieces by score, and look for both parts of a piece at each of its places.
TEST(Tokenizer, ScoresThatAreNoneAndVeryLongPiecesAreRefused) {
  const std::string& good = small_tokenizer().bytes();
  const auto with_piece = [&](size_t length, float score) {
    std::string text(length, 'x'), number(sizeof score, '\0');
    std::memcpy(number.data(), &score, sizeof score);
    const auto field = [](char key, const std::string& content) {
      const size_t size = content.size();
      return std::string{key, static_cast<char>(0x80 | (size & 0x7f)), static_cast<char>(size >> 7)} + content;
    };
    return good + field('\x0a', field('\x0a', text) + '\x15' + number);
  };
  const auto said = [&](size_t length, float score) {
    return refusal([&] { Tokenizer::from_bytes(with_piece(length, score), "changed"); });
  };
  EXPECT_EQ(Tokenizer::from_bytes(with_piece(1024, -1), "long").vocab_size(), small_tokenizer().vocab_size() + 1);
  EXPECT_NE(said(1025, -1).find("a piece has more than 1024 bytes"), std::string::npos);
  for (const float score : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    EXPECT_NE(said(3, score).find("a piece has a score that is none"), std::string::npos);
}

TEST(Tokenizer, FilesThatAreNoTokenizerAreRefused) {
  const TemporaryFolder folder;
  EXPECT_NE(refusal([&] { Tokenizer::load(folder.path("absent.model")); }).find("absent.model"), std::string::npos);
  EXPECT_NE(refusal([&] { Tokenizer::load(folder.path()); }).find(folder.path()), std::string::npos);
  for (const std::string& bytes : {std::string(), std::string("text"), std::string(1000, '\0'),
                                   std::string("\x89HDF\r\n\x1a\n"), sample_text(1, 50)})
    EXPECT_NE(refusal([&] { Tokenizer::load(folder.write("a.model", bytes)); }).find("a.model"), std::string::npos);
  // One piece, "a", and none for what is unknown. The library's words: "INTERNAL: unk is not defined.".
  const std::string said =
      refusal([&] { Tokenizer::load(folder.write("b.model", std::string("\n\x03\n\x01") + "a")); });
  EXPECT_TRUE(said.ends_with("b.model] is not a sentencepiece model: it is damaged, or another kind of file")) << said;
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
      EXPECT_EQ(std::string(error.what()).find(".cc"), std::string::npos) << "words of the library: " << error.what();
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

Tokenizer byte_pairs(const std::string& settings) {
  return trained_elsewhere(
      "--model_type=bpe --vocab_size=350 --byte_fallback=true --normalization_rule_name=identity "
      "--remove_extra_whitespaces=false " +
      settings);
}

TEST(Tokenizer, WithoutATokenBetweenDocumentsThereAreNone) {
  for (const auto& [settings, more] :
       {std::pair{"--bos_id=-1 --eos_id=1 --unk_id=0", 1u}, {"--bos_id=1 --eos_id=-1 --unk_id=0", 1u}, {"", 2u}}) {
    const Tokenizer tokenizer = byte_pairs(settings);
    EXPECT_EQ(tokenizer.encode_document("words").size(), tokenizer.encode("words").size() + more) << settings;
  }
  const Tokenizer neither = byte_pairs("--bos_id=-1 --eos_id=-1 --unk_id=0");
  EXPECT_NE(refusal([&] { neither.encode_document("words"); }).find("neither a begin- nor an end-of-document token"),
            std::string::npos);
}

TEST(Tokenizer, WithoutADummyPrefixAddsAndTakesAwayNothing) {
  const Tokenizer tokenizer = byte_pairs("--add_dummy_prefix=false");
  EXPECT_FALSE(tokenizer.adds_space());
  for (const std::string& text : odd_texts()) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << testing::PrintToString(text);
    int64_t bytes = 0;
    for (int32_t id : tokenizer.encode(text)) bytes += tokenizer.token_bytes(id);
    EXPECT_EQ(bytes, static_cast<int64_t>(text.size())) << testing::PrintToString(text);
  }
}

TEST(Tokenizer, SaysWhetherItGivesTextBack) {
  EXPECT_TRUE(small_tokenizer().gives_text_back());
  EXPECT_TRUE(byte_pairs("--add_dummy_prefix=false").gives_text_back());
  const std::string bpe = "--model_type=bpe --vocab_size=350 ";
  for (const std::string& settings :
       {std::string(
            "--model_type=bpe --vocab_size=100 --normalization_rule_name=identity --remove_extra_whitespaces=false"),
        bpe + "--byte_fallback=true --normalization_rule_name=nmt_nfkc --remove_extra_whitespaces=false",
        bpe + "--byte_fallback=true --normalization_rule_name=identity --remove_extra_whitespaces=true",
        bpe + "--byte_fallback=true --normalization_rule_name=identity --remove_extra_whitespaces=false "
              "--treat_whitespace_as_suffix=true"}) {
    const Tokenizer tokenizer = trained_elsewhere(settings);
    EXPECT_FALSE(tokenizer.gives_text_back()) << settings;
    for (const std::string& text : odd_texts()) tokenizer.decode(tokenizer.encode(text));
  }
}

// What the library makes of the whole text at once.
std::vector<int32_t> encoded_at_once(const Tokenizer& tokenizer, const std::string& text) {
  sentencepiece::SentencePieceProcessor processor;
  EXPECT_TRUE(processor.LoadFromSerializedProto(tokenizer.bytes()).ok());
  std::vector<int> ids;
  EXPECT_TRUE(processor.Encode(text, &ids).ok());
  return {ids.begin(), ids.end()};
}

// Long enough for many segments, of every kind of text: what a place to cut overlooks shows in the tokens.
TEST(Tokenizer, LongTextIsCutWhereItsTokensStayTheSame) {
  std::string mixed;
  for (int i = 0; mixed.size() < 300'000; ++i) {
    mixed += sample_text(i, 300);
    mixed += i % 3 == 0   ? std::string(i % 50, ' ')
             : i % 3 == 1 ? "\n\n\t"
                          : "\xe6\x97\xa5\xe6\x9c\xac\xc2\xa0\xef\xac\x81 \r\n";
    if (i % 10 == 0)
      for (int k = 0; k < 15000; ++k) mixed += i % 20 ? "\xe6\x97\xa5" : "lobaker";
  }
  std::string one_word;
  for (int k = 0; one_word.size() < 100'000; ++k) one_word += k % 3 ? "baker" : "lo";
  const std::string base = "--model_type=bpe --vocab_size=350 --byte_fallback=true --minloglevel=3 ";
  for (const std::string& settings :
       {base + "--normalization_rule_name=identity --remove_extra_whitespaces=false",
        base + "--normalization_rule_name=identity --remove_extra_whitespaces=false --add_dummy_prefix=false",
        base + "--normalization_rule_name=identity --remove_extra_whitespaces=false --treat_whitespace_as_suffix=true",
        base + "--normalization_rule_name=identity --remove_extra_whitespaces=false --split_by_whitespace=false",
        base + "--normalization_rule_name=identity --remove_extra_whitespaces=false "
               "--user_defined_symbols=er.,er\xe2\x96\x81,\xe2\x96\x81\xe2\x96\x81",
        base + "--normalization_rule_name=identity --remove_extra_whitespaces=true",
        base + "--normalization_rule_name=nmt_nfkc",
        base + "--normalization_rule_name=nmt_nfkc --add_dummy_prefix=false",
        std::string("--model_type=bpe --vocab_size=100 --normalization_rule_name=nmt_nfkc"),
        std::string(
            "--model_type=bpe --vocab_size=100 --normalization_rule_name=identity --remove_extra_whitespaces=false"),
        std::string("--model_type=unigram --vocab_size=100 --normalization_rule_name=nmt_nfkc"),
        std::string("--model_type=unigram --vocab_size=350 --byte_fallback=true --normalization_rule_name=identity "
                    "--remove_extra_whitespaces=false"),
        std::string("--model_type=char --vocab_size=30"), std::string("--model_type=word --vocab_size=100")}) {
    const Tokenizer tokenizer = trained_elsewhere(settings);
    for (const std::string& text : {mixed, one_word})
      EXPECT_TRUE(tokenizer.encode(text) == encoded_at_once(tokenizer, text)) << settings;
  }
  // Of ours, white space is what cannot be cut anywhere.
  std::string code, white;
  for (int i = 0; code.size() < 300'000; ++i)
    code += sample_code(i, 100) + std::string(i * 37 % 5000, i % 3 ? ' ' : '\n');
  for (int i = 0; white.size() < 200'000; ++i) white += std::string(i % 23, ' ') + (i % 5 ? "\n" : "\t\t");
  for (const std::string& text : {mixed, one_word, code, white}) {
    EXPECT_TRUE(code_tokenizer().encode(text) == encoded_at_once(code_tokenizer(), text));
    EXPECT_TRUE(code_tokenizer().decode(code_tokenizer().encode(text)) == text);
  }
}

// As in a file that was padded: a place to cut comes only where it has to.
TEST(Tokenizer, MegabytesOfWhiteSpaceComeBack) {
  for (const char c : {' ', '\n', '\t'}) {
    const std::string text = "x" + std::string((1 << 20) + 1000, c) + "y";
    const std::vector<int32_t> ids = code_tokenizer().encode(text);
    EXPECT_TRUE(code_tokenizer().decode(ids) == text);
    EXPECT_LE(ids.size(), text.size() / 2 + 4) << static_cast<int>(c);
  }
}

TEST(TextCutter, CutsTheSameHoweverTheTextComes) {
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += sample_text(i, 100) + "\xf0\x9f\x98\x80\xe6\x97\xa5";
  const auto segments = [&](size_t part) {
    TextCutter cutter(small_tokenizer().cut_places());
    std::vector<std::string> all;
    std::string segment;
    for (size_t at = 0; at < text.size(); at += part) {
      cutter.push(std::string_view(text).substr(at, part));
      while (cutter.next(segment, false)) {
        EXPECT_FALSE(cutter.empty()) << "this may be the last segment";
        all.push_back(segment);
      }
    }
    while (cutter.next(segment, true)) all.push_back(segment);
    EXPECT_TRUE(cutter.empty());
    return all;
  };
  const std::vector<std::string> whole = segments(text.size());
  EXPECT_GT(whole.size(), 6u);
  for (size_t part : {1, 7, 1000, 40000}) EXPECT_TRUE(segments(part) == whole) << part;
}

// A text of one piece throughout, as a damaged file has.
TEST(TextCutter, TextWithoutAPlaceToCutStillComesBack) {
  std::string text = "ba";
  for (int i = 0; i < (3 << 20); ++i) text += "ker"[i % 3];
  const Tokenizer tokenizer = trained_elsewhere(
      "--model_type=bpe --vocab_size=350 --byte_fallback=true --normalization_rule_name=identity "
      "--remove_extra_whitespaces=false --user_defined_symbols=erk,rke,kek");
  TextCutter cutter(tokenizer.cut_places());
  cutter.push(text);
  std::string segment;
  ASSERT_TRUE(cutter.next(segment, true));
  EXPECT_LE(segment.size(), TextCutter::kLongest);
  EXPECT_GE(segment.size(), TextCutter::kLongest - 4);
  EXPECT_TRUE(tokenizer.decode(tokenizer.encode(text)) == text);
}

std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TEST(StreamDecoder, GivesTheSameTextAsDecodingAtOnce) {
  for (const Tokenizer& tokenizer : {small_tokenizer(), code_tokenizer()})
    for (const std::string& text : odd_texts())
      EXPECT_EQ(stream(tokenizer, tokenizer.encode(text)), text) << testing::PrintToString(text);
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
  EXPECT_EQ(train_tokenizer({folder.write("1.txt", text), folder.write("2.txt", "a second document\n")},
                            CorpusOptions{}, 350, folder.path("b.model"), {.hold_out = 0})
                .documents,
            2);
  EXPECT_EQ(bytes_of(folder.path("a.model")), bytes_of(folder.path("b.model")));
}

// Words of many kinds fill a small table again and again: the frequent ones stay, and of the rare ones each half of the
// text has its share.
TEST(TrainTokenizer, OfTooManyWordsTheFrequentOnesAndAnEvenSampleAreUsed) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 40000; ++i) {
    // Rare: letters a to j in the first half, k to t in the second. Frequent: everywhere, of letters that no other word
    // has.
    for (int digits = i % 20000 * 7919 % 100000, k = 0; k < 5; ++k, digits /= 10)
      text += static_cast<char>((i < 20000 ? 'a' : 'k') + digits % 10);
    text += i % 10 == 0 ? " uvwxyz\n" : " ";
  }
  const std::string path = folder.write("a.txt", text);
  TokenizerTraining small;
  small.table_bytes = 100'000;
  train_tokenizer({path}, CorpusOptions{}, 700, folder.path("small.model"), small);
  train_tokenizer({path}, CorpusOptions{}, 700, folder.path("large.model"));
  for (const char* name : {"small.model", "large.model"}) {
    const Tokenizer tokenizer = Tokenizer::load(folder.path(name));
    EXPECT_EQ(tokenizer.encode("uvwxyz").size(), 1u) << name;
    int early = 0, late = 0;
    for (int32_t id = 259; id < 700; ++id) {
      const std::string piece = tokenizer.token_text(id);
      if (piece.size() < 2) continue;
      early += piece.back() < 'k';
      late += piece.back() >= 'k' && piece.back() < 'u';
    }
    EXPECT_GT(early, 100) << name;
    EXPECT_GT(late, 100) << name;
  }
}

TEST(TrainTokenizer, SaysHowFarItIs) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.txt", sample_text(1, 3000));
  TokenizerTraining talkative;
  talkative.between_reports = {};
  testing::internal::CaptureStderr();
  train_tokenizer({path}, CorpusOptions{}, 350, folder.path("a.model"), talkative);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("MB of text read so far"), std::string::npos) << said;
  EXPECT_NE(said.find(" of 350 pieces so far"), std::string::npos) << said;
  EXPECT_EQ(said.find("LOG("), std::string::npos) << said;
}

// The trainer itself takes nothing of a line with U+2585.
TEST(TrainTokenizer, LearnsFromLinesWithTheTrainersOwnCharacters) {
  const TemporaryFolder folder;
  for (const char* mark : {"\xe2\x96\x81", "\xe2\x96\x85"}) {
    std::string text;
    for (int i = 0; i < 300; ++i) text += std::string("unmatched") + mark + " wording " + mark + "\n";
    train_tokenizer({text}, 300, folder.path("a.model"));
    const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
    EXPECT_EQ(tokenizer.encode("unmatched").size(), 1u) << mark;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << mark;
  }
}

TEST(TrainTokenizer, LearnsFromTabbedAndFromVeryLongLines) {
  const TemporaryFolder folder;
  std::string tabbed, one_line, no_spaces;
  for (int i = 0; i < 300; ++i) tabbed += "\tindented words\tand more words\n";
  for (int i = 0; i < 30000; ++i) one_line += "endless sentence ";
  for (int i = 0; i < 30000; ++i) {
    no_spaces += "\xe6\x97\xa5\xe6\x9c\xac";
    no_spaces += i % 3 ? "\xe8\xaa\x9e" : "\xe5\x9b\xbd";
  }
  for (const auto& [text, word, pieces] :
       {std::tuple{tabbed, "indented", 2u}, {one_line, "sentence", 2u}, {no_spaces, "\xe6\x97\xa5\xe6\x9c\xac", 2u}}) {
    train_tokenizer({text, sample_text(1, 300)}, 340, folder.path("a.model"));
    const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
    EXPECT_LE(tokenizer.encode(word).size(), pieces) << word;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

int pieces_of(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<int32_t> ids = tokenizer.encode(text);
  // The space before the text is a piece of its own where it joins nothing.
  return static_cast<int>(ids.size()) - (tokenizer.token_text(ids.at(0)) == " ");
}

TEST(TrainTokenizer, IndentationAndLineEndsArePieces) {
  const Tokenizer& tokenizer = code_tokenizer();
  for (const char* text : {"\n", "\t", "\r\n", "\t\t", "}\n", "}\n\n", ";\n"})
    EXPECT_EQ(pieces_of(tokenizer, text), 1) << text;
  EXPECT_EQ(tokenizer.encode("       ").size(), 1u) << "with the space before the text there are 8";
  EXPECT_EQ(tokenizer.encode("           ").size(), 1u);
  for (const int32_t id : tokenizer.encode("\n \t\r\n")) EXPECT_EQ(tokenizer.piece(id).type, PieceType::Normal);
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    // Words keep their one space: none has two before it, or one behind.
    const std::string& piece = tokenizer.token_text(id);
    const size_t word = piece.find_first_not_of(' ');
    if (word == std::string::npos) continue;
    EXPECT_LE(word, 1u) << piece;
    EXPECT_EQ(piece.find(' ', word), std::string::npos) << piece;
  }
  // The text at its first place and elsewhere: the trainer's own mark for a tab is nobody's piece.
  for (int32_t id = 259; id < tokenizer.vocab_size(); ++id)
    EXPECT_EQ(tokenizer.token_text(id).find('\1'), std::string::npos) << id;
}

TEST(TrainTokenizer, CodeTakesFewerTokensThanWithoutPiecesOfWhiteSpace) {
  const Tokenizer plain = trained_elsewhere(
      "--model_type=bpe --vocab_size=350 --byte_fallback=true --normalization_rule_name=identity "
      "--remove_extra_whitespaces=false");
  int white = 0;
  for (int32_t id = 259; id < code_tokenizer().vocab_size(); ++id)
    white += code_tokenizer().token_text(id).find_first_not_of(" \n\t\r") == std::string::npos;
  EXPECT_GE(white, 8);
  EXPECT_LT(code_tokenizer().encode(std::string(64, ' ') + "\n\n").size() * 4,
            plain.encode(std::string(64, ' ') + "\n\n").size());
}

TEST(TrainTokenizer, DigitsArePiecesOfTheirOwnWhereAskedFor) {
  const TemporaryFolder folder;
  std::string text = sample_text(1, 2000);
  for (int i = 0; i < 300; ++i) text += " in 1024 and 2048\n";
  train_tokenizer({text}, 350, folder.path("joined.model"));
  train_tokenizer({text}, 350, folder.path("split.model"), {.split_digits = true});
  const Tokenizer joined = Tokenizer::load(folder.path("joined.model")),
                  split = Tokenizer::load(folder.path("split.model"));
  EXPECT_LT(pieces_of(joined, "1024"), 4);
  EXPECT_EQ(pieces_of(split, "1024"), 4);
  EXPECT_EQ(split.decode(split.encode(text)), text);
}

TEST(TrainTokenizer, SymbolsOfTheUsersAreOneTokenWhereverTheyStand) {
  const TemporaryFolder folder;
  const std::vector<std::string> symbols = {"<|user|>", "<|end|>", "a\"b,c", "\xe6\x97\xa5\xe6\x9c\xac", "##"};
  train_tokenizer({sample_text(1, 3000) + "<|user|>###"}, 350, folder.path("a.model"), {.user_symbols = symbols});
  const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
  EXPECT_EQ(tokenizer.vocab_size(), 350);
  for (const std::string& symbol : symbols) {
    int32_t its = -1;
    for (int32_t id = 0; id < 350; ++id)
      if (tokenizer.token_text(id) == symbol) its = id;
    ASSERT_GE(its, 0) << symbol;
    EXPECT_EQ(tokenizer.piece(its).type, PieceType::UserDefined);
    for (const std::string& text : {symbol, "ba" + symbol + "lo", "\n" + symbol + "  ", symbol + symbol}) {
      const std::vector<int32_t> ids = tokenizer.encode(text);
      EXPECT_TRUE(std::count(ids.begin(), ids.end(), its) > 0) << text;
      EXPECT_EQ(tokenizer.decode(ids), text);
    }
  }
  for (const std::string& text : odd_texts()) EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  std::string many;
  for (int i = 0; many.size() < 200'000; ++i) many += i % 7 ? "<|user|>" : "###<|end|>x";
  EXPECT_TRUE(tokenizer.encode(many) == encoded_at_once(tokenizer, many)) << "cut within a symbol";

  for (const std::string& bad : {"", "two words", "\n", "<s>", "<0x41>", "\xff", "x\xe2\x96\x81"})
    EXPECT_NE(refusal([&] {
                train_tokenizer({sample_text(1, 3000)}, 350, folder.path("b.model"), {.user_symbols = {bad}});
              }).find("'" + bad + "'"),
              std::string::npos)
        << bad;
  EXPECT_NE(refusal([&] {
              train_tokenizer({sample_text(1, 3000)}, 350, folder.path("b.model"), {.user_symbols = {"x|", "x|"}});
            }).find("is there already"),
            std::string::npos);
}

TEST(TrainTokenizer, RareCharactersAreSpeltInBytesUnlessTheyAreToBeCovered) {
  const TemporaryFolder folder;
  const std::string text = sample_text(1, 8000) + "\xe6\x97\xa5";
  for (const auto& [coverage, type] : {std::pair{0.999, PieceType::Byte}, {1.0, PieceType::Normal}}) {
    train_tokenizer({text}, 350, folder.path("a.model"), {.character_coverage = coverage});
    const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
    EXPECT_EQ(tokenizer.piece(tokenizer.encode("\xe6\x97\xa5").back()).type, type) << coverage;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  for (const double coverage : {0.97, 1.01, std::nan("")})
    EXPECT_NE(refusal([&] {
                train_tokenizer({text}, 350, folder.path("b.model"), {.character_coverage = coverage});
              }).find("character coverage from 0.98 to 1"),
              std::string::npos);
}

// A word of the held-out lines that is nowhere else is not learnt, whichever files the lines come in.
TEST(TrainTokenizer, AFiftiethOfTheTextIsHeldOutAndMeasured) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 400; ++i) text += sample_text(i, 700);
  const std::string whole = folder.write("whole.txt", text);
  const TokenizerReport report = train_tokenizer({whole}, CorpusOptions{}, 400, folder.path("a.model"));
  const auto bytes = static_cast<double>(text.size());
  EXPECT_GT(static_cast<double>(report.held_out_bytes), 0.01 * bytes);
  EXPECT_LT(static_cast<double>(report.held_out_bytes), 0.04 * bytes);  // 9 blocks of 430, or some more
  const Tokenizer tokenizer = Tokenizer::load(folder.path("a.model"));
  EXPECT_NEAR(static_cast<double>(report.held_out_bytes) / static_cast<double>(report.held_out_tokens),
              bytes / static_cast<double>(tokenizer.encode(text).size()), 0.05);

  // The same text twice is held out twice, and measured once.
  const TokenizerReport twice = train_tokenizer({whole, whole}, CorpusOptions{}, 400, folder.path("b.model"));
  EXPECT_NEAR(static_cast<double>(twice.held_out_bytes), static_cast<double>(report.held_out_bytes), 2 * 4200)
      << "the first block is trained on where it comes first";
  const TokenizerReport none = train_tokenizer({whole}, {}, 400, folder.path("c.model"), {.hold_out = 0});
  EXPECT_EQ(none.held_out_bytes, 0);
  EXPECT_NE(bytes_of(folder.path("a.model")), bytes_of(folder.path("c.model")));

  for (int i = 400; i < 1100; ++i) text += sample_text(i, 700);
  const TokenizerReport most =
      train_tokenizer({folder.write("more.txt", text)}, {}, 400, folder.path("d.model"), {.hold_out = 0.95});
  EXPECT_GT(most.held_out_bytes, 4'000'000) << "an even sample of 4 MiB, not all";
  EXPECT_LE(most.held_out_bytes, 4 << 20);
}

TEST(TrainTokenizer, RefusesWhatItCannotDoAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string out = folder.path("a.model");
  EXPECT_NE(refusal([&] { train_tokenizer({"a few words"}, 4000, out); }).find("4000"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({"a few words"}, 299, out); }).find("expected 300 to 1048576 pieces"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              train_tokenizer({sample_text(1, 3000)}, (1 << 20) + 1, out);
            }).find("expected 300 to 1048576 pieces"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              train_tokenizer({folder.path()}, CorpusOptions{}, 300, out, {.table_bytes = 0});
            }).find("positive number of bytes"),
            std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({}, 300, out); }).find("there is no text to train on"), std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({"\n\t\n"}, 300, out); }).find("there is no text to train on"),
            std::string::npos);
  EXPECT_NE(refusal([&] { train_tokenizer({"words \xff"}, 300, out); }).find("byte 6"), std::string::npos);
  EXPECT_EQ(folder.names(), std::vector<std::string>{});
}

}  // namespace
}  // namespace gta
