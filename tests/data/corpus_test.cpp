#include "data/corpus.h"
#include "data/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <thread>

#include "data/utf8.h"
#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<unsigned>(text.size());
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

CorpusOptions separated_by(const std::string& regex) {
  CorpusOptions options;
  options.document_separator = regex;
  return options;
}

using Documents = std::vector<std::string>;

TEST(Corpus, PlainFileIsOneDocumentByteForByte) {
  const TemporaryFolder folder;
  const std::string text = "  one\r\n\n\ttwo \xf0\x9f\x98\x80\n no end";
  EXPECT_EQ(documents_of({folder.write("a.txt", text), folder.write("b.txt", "x\n")}), (Documents{text, "x\n"}));
}

TEST(Corpus, FilesWithoutTextGiveNoDocument) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents_of({folder.write("a.txt", ""), folder.write("b.jsonl", "\n  \n"), folder.write("c.gz", gzip("")),
                          folder.write("d.zst", zstd(""))}),
            Documents{});
}

TEST(Corpus, SeparatorMatchesWholeLinesOnly) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.txt", "== A\nx ==\n== B\ny\n==\n");
  EXPECT_EQ(documents_of({path}, separated_by("==")), (Documents{"== A\nx ==\n== B\ny\n"}));
  EXPECT_EQ(documents_of({path}, separated_by("== .*")), (Documents{"x ==\n", "y\n==\n"}));
  EXPECT_EQ(documents_of({path}, separated_by("=|==")), (Documents{"== A\nx ==\n== B\ny\n"}));
}

TEST(Corpus, EmptySeparatorIsAnEmptyLineWithEitherLineEnd) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents_of({folder.write("a.txt", "\n\na\nb\n\n\nc")}, separated_by("")), (Documents{"a\nb\n", "c"}));
  EXPECT_EQ(documents_of({folder.write("b.txt", "a\r\n\r\nc\r\n")}, separated_by("")), (Documents{"a\r\n", "c\r\n"}));
}

TEST(Corpus, SeparatorKnowsCharactersBeyondAscii) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents_of({folder.write("a.txt", "aa\n\xc3\xa9\nbb\n")}, separated_by(".")),
            (Documents{"aa\n", "bb\n"}));
}

TEST(Corpus, BadSeparatorIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.txt", "a\n");
  EXPECT_NE(refusal([&] { documents_of({path}, separated_by("(a")); }).find("(a"), std::string::npos);
}

TEST(Corpus, SeparatorThatGivesUpOnALineIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.txt", "short\n" + std::string(60, 'a') + "b\n");
  EXPECT_NE(refusal([&] { documents_of({path}, separated_by("(a|aa)+[xy]")); }).find("a.txt:2"), std::string::npos);
}

TEST(Corpus, JsonLinesGiveTheirTextField) {
  const TemporaryFolder folder;
  const std::string path = folder.write(
      "a.jsonl",
      "{\"text\": \"a\\nb\", \"id\": 1}\r\n\n{\"id\": 2, \"text\": \"\\u00e9\\ud83d\\ude00\"}\n{\"text\": \"\"}");
  EXPECT_EQ(documents_of({path}), (Documents{"a\nb", "\xc3\xa9\xf0\x9f\x98\x80"}));
  CorpusOptions options;
  options.field = "content";
  EXPECT_EQ(documents_of({folder.write("b.jsonl", "{\"content\": \"c\"}\n")}, options), Documents{"c"});
}

TEST(Corpus, BadJsonLinesAreRefusedWithTheirLine) {
  const TemporaryFolder folder;
  const std::string good = "{\"text\": \"a\"}\n";
  for (const auto& [bad, part] : std::vector<std::pair<std::string, std::string>>{
           {"{\"text\": \"a\"", "is not JSON at byte 14"},
           {"{\"text\": \"a\"} {}", "is not JSON at byte 15"},
           {"[\"text\"]", "is an array: expected an object on each line (jq -c '.[]'"},
           {"\"text\"", "is a string: expected an object"},
           {"{\"text\": \"\\ud800\"}", "has half of a surrogate pair at byte 17"},
           {"{\"id\": 1e999, \"text\": \"a\"}", "has the number 1e999, which is too large"},
           {"{\"Text\": \"a\", \"b\": {\"text\": \"c\"}}",
            "has no field 'text' (it has: Text, b): name it with --field"},
           {"{\"text\": null}", "has null in the field 'text': expected a string"},
           {"{\"text\": {\"text\": \"a\"}}", "has an object in the field 'text': expected a string"},
           {"{\"text\": [\"a\"]}", "has an array in the field 'text': expected a string"},
           {"{\"text\": 3}", "has a number in the field 'text': expected a string"}}) {
    const std::string path = folder.write("a.jsonl", good + "\n" + bad + "\n" + good);
    const std::string message = refusal([&] { documents_of({path}); });
    EXPECT_NE(message.find("a.jsonl:3] " + part), std::string::npos) << bad << ": " << message;
    EXPECT_NE(message.find("--skip-bad-lines"), std::string::npos) << message;
  }
}

TEST(Corpus, BadLinesAreLeftOutNamedAndCountedWhereThatIsWanted) {
  const TemporaryFolder folder;
  CorpusOptions options;
  options.skip_bad_lines = true;
  std::string lines;
  for (int i = 1; i <= 300; ++i)
    lines += i == 7 ? "{\"text\": null}\n" : i % 2 ? "{\"text\": \"a\"}\n" : "{\"text\": 1e999}\n";
  const std::string path = folder.write("a.jsonl", lines + "{\"text\": \"\xff\"}\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(documents_of({path}, options), Documents(149, "a"));
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("a.jsonl:7] has null in the field 'text'"), std::string::npos) << said;
  EXPECT_NE(said.find("a.jsonl] 152 bad lines were left out; the first 10 are named above"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 11);

  testing::internal::CaptureStderr();
  EXPECT_EQ(documents_of({folder.write("b.txt", "one\nbad \xff\ntwo\n")}, options), Documents{"one\ntwo\n"});
  EXPECT_NE(testing::internal::GetCapturedStderr().find("b.txt:2] is not UTF-8 at byte 8"), std::string::npos);
}

// Whoever has a corpus of thousands of files wants to know which of them are bad, in few lines.
TEST(Corpus, BadLinesOfManyFilesAreNamedAndCountedFileByFileWithinBounds) {
  const TemporaryFolder folder;
  CorpusOptions options;
  options.skip_bad_lines = true;
  std::string bad;
  for (int i = 0; i < 25; ++i) bad += "{\n";
  const std::string good = "{\"text\": \"a\"}\n";
  std::vector<std::string> files = {folder.write("first.jsonl", bad + good), folder.write("good.jsonl", good),
                                    folder.write("second.jsonl", "{\n" + good), folder.write("third.jsonl", bad)};
  const auto said_of = [&](Documents expected) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(documents_of(files, options), expected);
    return testing::internal::GetCapturedStderr();
  };
  std::string said = said_of(Documents(3, "a"));
  for (const char* part : {"first.jsonl:10] is not JSON", "first.jsonl] 25 bad lines were left out; the first 10 are",
                           "second.jsonl:1] is not JSON", "third.jsonl:1] is not JSON",
                           "third.jsonl] 25 bad lines were left out; the first 10 are named above",
                           "51 bad lines in 3 files were left out\n"})
    EXPECT_NE(said.find(part), std::string::npos) << part << ": " << said;
  EXPECT_EQ(said.find("first.jsonl:11]"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 11 + 1 + 11 + 1);

  files.assign(300, files[0]);
  said = said_of(Documents(300, "a"));
  EXPECT_NE(said.find("7500 bad lines in 300 files were left out; those of the first 10 files are named above\n"),
            std::string::npos)
      << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 10 * 11 + 1);
}

TEST(Corpus, ALongBadLineIsLeftOutWholeAndALongGoodOneTakenWhole) {
  const TemporaryFolder folder;
  CorpusOptions options;
  options.skip_bad_lines = true;
  const std::string good(3'000'000, 'g'), begin(1'500'000, 'b'), end(1'500'000, 'e');
  const std::string path = folder.write("a.txt", "one\n" + begin + "\xff" + end + "\n" + good + "\ntwo\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(documents_of({path}, options), Documents{"one\n" + good + "\ntwo\n"});
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("a.txt:2] is not UTF-8 at byte 1500004 of the file: left out"), std::string::npos) << said;
  EXPECT_NE(said.find("1 bad lines were left out"), std::string::npos) << said;
  options.largest_document = 2 << 20;
  EXPECT_NE(refusal([&] { documents_of({path}, options); }).find("has a document of more than"), std::string::npos);
}

TEST(Corpus, WhatHasNulsIsNoText) {
  const TemporaryFolder folder;
  std::string utf16;
  for (const char c : std::string("ab\ncd\n")) utf16 += {c, '\0'};
  for (const auto& [name, text, byte] : {std::tuple{"utf16.txt", utf16, 1},
                                         {"torn.txt", "words\nmore" + std::string(5000, '\0'), 10},
                                         {"torn.jsonl", "{\"text\": \"a\"}\n" + std::string(100, '\0'), 14}}) {
    const std::string said = refusal([&] { documents_of({folder.write(name, text)}); });
    EXPECT_NE(said.find(fmt::format("has a NUL at byte {} of the file", byte)), std::string::npos) << name << said;
  }
  // Written as an escape it is meant.
  EXPECT_EQ(documents_of({folder.write("meant.jsonl", "{\"text\": \"a\\u0000b\"}\n")}),
            Documents{std::string("a\0b", 3)});
}

TEST(Corpus, LinesWithAnEmptyTextAreCounted) {
  const TemporaryFolder folder;
  testing::internal::CaptureStderr();
  EXPECT_EQ(documents_of({folder.write("a.jsonl", "{\"text\": \"\"}\n{\"text\": \"a\"}\n{\"text\": \"\"}\n")}),
            Documents{"a"});
  EXPECT_NE(testing::internal::GetCapturedStderr().find("2 lines have an empty text, and are no documents"),
            std::string::npos);
}

TEST(Corpus, ABadLineIsFoundWithoutItsDocuments) {
  const TemporaryFolder folder;
  const std::string good = folder.write("a.txt", "words\n"), bad = folder.write("b.jsonl", "{\"text\": \"a\"}\n{}\n");
  EXPECT_NE(refusal([&] {
              check_documents({good, bad}, {});
            }).find("b.jsonl:2] has no field 'text'"),
            std::string::npos);
  check_documents({good}, {});
}

TEST(Corpus, JsonLinesAreKnownByTheirNames) {
  const TemporaryFolder folder;
  const std::string line = "{\"text\": \"a\"}\n";
  for (const char* name : {"a.jsonl", "a.JSONL", "a.ndjson", "a.jsonlines", "a.json", "a.Json"})
    EXPECT_EQ(documents_of({folder.write(name, line)}), Documents{"a"}) << name;
  for (const char* name : {"a.jsonl.gz", "a.NDJSON.GZ", "a.json.gz"})
    EXPECT_EQ(documents_of({folder.write(name, gzip(line))}), Documents{"a"}) << name;
}

TEST(Corpus, JsonUnderAnotherNameIsNeverTakenForProse) {
  const TemporaryFolder folder;
  CorpusOptions lines, text;
  lines.format = TextFormat::JsonLines;
  text.format = TextFormat::Text;
  for (const char* json : {"{\"text\": \"a\"}\n", "\n \n{ \"text\" : \"a\"}\n", "\xef\xbb\xbf{\"text\": \"a\"}"}) {
    for (const std::string& path :
         {folder.write("a.txt", json), folder.write("noname", json), folder.write("b.gz", gzip(json))}) {
      EXPECT_NE(
          refusal([&] { documents_of({path}); }).find("begins as JSON and is not named .jsonl: say --format jsonl"),
          std::string::npos)
          << path << json;
      EXPECT_EQ(documents_of({path}, lines), Documents{"a"});
      const std::string mark = "\xef\xbb\xbf", whole = json;
      EXPECT_EQ(documents_of({path}, text), Documents{whole.starts_with(mark) ? whole.substr(mark.size()) : whole});
    }
  }
  for (const char* json : {"{\n  \"text\": \"a\"\n}\n", "[{\"text\": \"a\"}]", "[\n  {\n\"text\": 1}]", "[\"a\"]"})
    refusal([&] { documents_of({folder.write("a.txt", json)}); });
  for (const char* prose : {"{braces} in prose", "[Illustration]\n", "{\n}", "[1] a list\n", "{", "",
                            "\"quoted\": no object", "{\"quoted\" words}"})
    EXPECT_EQ(documents_of({folder.write("a.txt", prose)}), *prose ? Documents{prose} : Documents{}) << prose;

  const std::string pipe = folder.path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << "{\"text\": \"a\"}\n"; });
  EXPECT_NE(refusal([&] { documents_of({pipe}); }).find("begins as JSON"), std::string::npos);
  writer.join();
}

TEST(Corpus, CompressionIsKnownByItsBytes) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents_of({folder.write("a.txt", gzip("one")), folder.write("b", zstd("two"))}),
            (Documents{"one", "two"}));
}

TEST(Corpus, FilesThatAreNoTextAreNamedForWhatTheyAre) {
  const TemporaryFolder folder;
  using namespace std::string_literals;
  const std::string nuls(600, '\0');
  for (const auto& [bytes, name] : {std::pair{"PK\3\4"s + nuls, "a zip archive"},
                                    {"name.txt" + std::string(249, '\0') + "ustar  " + nuls, "a tar archive"},
                                    {"PAR1" + nuls, "a Parquet file"},
                                    {"\xff\xfe\x61\0b\0"s, "UTF-16"},
                                    {"BZh91AY&SY\xff" + nuls, "compressed by bzip2"}}) {
    EXPECT_NE(refusal([&] { documents_of({folder.write("a.txt", bytes)}); }).find("is "s + name), std::string::npos)
        << name;
    EXPECT_NE(refusal([&] { documents_of({folder.write("a.gz", gzip(bytes))}); }).find("is "s + name),
              std::string::npos)
        << name;
  }
  EXPECT_EQ(documents_of({folder.write("a.txt", "PAR1 is a word")}), Documents{"PAR1 is a word"});
}

TEST(Corpus, OptionsThatMeanNothingToAnInputAreRefused) {
  const TemporaryFolder folder;
  CorpusOptions field;
  field.field = "text";
  const std::string text = folder.write("a.txt", "words\n"), json = folder.write("a.jsonl", "{\"text\": \"a\"}\n");
  EXPECT_NE(refusal([&] {
              documents_of({json, text}, field);
            }).find("a.txt] is text, which has no field 'text'"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              documents_of({text, json}, separated_by(""));
            }).find("a.jsonl] is JSON lines, each of which is a document"),
            std::string::npos);
}

// Before the first document is taken.
TEST(Corpus, AnInputThatCannotBeReadIsFoundAtOnce) {
  const TemporaryFolder folder;
  const std::string good = folder.write("a.txt", "words\n");
  for (const std::string& bad :
       {folder.path("absent.txt"), folder.path(), folder.write("json.txt", "{\"text\": \"a\"}")})
    refusal([&] { read_documents({good, bad}, {}, [](std::string&&) { FAIL() << "a document was taken"; }); });
}

TEST(Corpus, InvalidUtf8IsRefusedWithItsFileAndByte) {
  const TemporaryFolder folder;
  for (const char* bad : {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98"}) {
    const std::string path = folder.write("a.txt", std::string("good\nline\xc3\xa9 ") + bad + "\nmore\n");
    const std::string message = refusal([&] { documents_of({path}); });
    EXPECT_NE(message.find("a.txt"), std::string::npos);
    EXPECT_NE(message.find("byte 12 "), std::string::npos) << message;
  }
  EXPECT_NE(refusal([&] { documents_of({folder.write("b.jsonl", "{\"text\": \"\xff\"}")}); }).find("byte 10 "),
            std::string::npos);
}

TEST(Corpus, LastAndFirstCharactersOfEachLengthAreTaken) {
  const TemporaryFolder folder;
  const std::string text =
      "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
  EXPECT_EQ(documents_of({folder.write("a.txt", text)}), Documents{text});
}

// The reader decompresses 256 KiB at a time: sizes around its multiples, and far more than one.
TEST(Corpus, CompressedFilesReadAsTheirText) {
  const TemporaryFolder folder;
  for (size_t size : {1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 1 << 19, 3000000}) {
    std::string text = sample_text(size, 600000);
    ASSERT_GE(text.size(), size);
    text.resize(size);
    if (find_bad_utf8(text) >= 0) text.back() = 'x';  // a character was cut in two
    EXPECT_EQ(documents_of({folder.write("a.txt.gz", gzip(text))}), Documents{text}) << size;
    EXPECT_EQ(documents_of({folder.write("a.txt.zst", zstd(text))}), Documents{text}) << size;
  }
  EXPECT_EQ(documents_of({folder.write("a.jsonl.gz", gzip("{\"text\": \"a\"}\n"))}), Documents{"a"});
  EXPECT_EQ(documents_of({folder.write("a.jsonl.zst", zstd("{\"text\": \"a\"}\n"))}), Documents{"a"});
}

TEST(Corpus, CompressedStreamsOneAfterTheOtherAreOneText) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents_of({folder.write("a.gz", gzip("one ") + gzip("") + gzip("two"))}), Documents{"one two"});
  EXPECT_EQ(documents_of({folder.write("a.zst", zstd("one ") + zstd("") + zstd("two"))}), Documents{"one two"});
}

TEST(Corpus, ZerosAtTheEndOfAGzipFileAreNothing) {
  const TemporaryFolder folder;
  for (const size_t zeros : {1, 511, 300'000, 1'000'000})
    EXPECT_EQ(documents_of({folder.write("a.gz", gzip("one ") + gzip("two") + std::string(zeros, '\0'))}),
              Documents{"one two"})
        << zeros;
  EXPECT_NE(refusal([&] {
              documents_of({folder.write("b.gz", gzip("one ") + std::string(300'000, '\0') + gzip("two"))});
            }).find("has something after its gzip data, and zeros between"),
            std::string::npos);
}

TEST(Corpus, AWindowThatIsTooLargeIsNoDamage) {
  const TemporaryFolder folder;
  // The frame's header: a window of 2^(10 + 18) bytes.
  const std::string frame("\x28\xb5\x2f\xfd\x00\x90", 6);
  EXPECT_NE(refusal([&] {
              documents_of({folder.write("a.zst", frame + std::string(64, '\1'))});
            }).find("was compressed with a window of more than 128 MiB (zstd --long)"),
            std::string::npos);
}

// Windows' editors begin files with one; read as text it would be a document's first word.
TEST(Corpus, AByteOrderMarkIsNoText) {
  const TemporaryFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  for (const auto& [text, documents] :
       std::vector<std::pair<std::string, Documents>>{{"one\ntwo", {"one\ntwo"}}, {"", {}}, {"\n\none", {"\n\none"}}}) {
    const Documents expected = documents_of({folder.write("plain.txt", text)}, {});
    EXPECT_EQ(expected, documents);
    EXPECT_EQ(documents_of({folder.write("marked.txt", mark + text)}, {}), expected);
    EXPECT_EQ(documents_of({folder.write("marked.txt.gz", gzip(mark + text))}, {}), expected);
    EXPECT_EQ(documents_of({folder.write("marked.txt.zst", zstd(mark + text))}, {}), expected);
  }
  CorpusOptions options;
  options.document_separator = "---";
  EXPECT_EQ(documents_of({folder.write("a.txt", mark + "---\none\n---\ntwo")}, options), (Documents{"one\n", "two"}));
  const std::string line = mark + "{\"text\": \"one\"}\n";
  EXPECT_EQ(documents_of({folder.write("a.jsonl", line), folder.write("b.jsonl.gz", gzip(line)),
                          folder.write("c.jsonl.zst", zstd(line))}),
            Documents(3, "one"));
  // Longer than the parts in which lines are read, and a place that counts the mark's bytes.
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(documents_of({folder.write("large.txt", mark + large)}, {}), Documents{large});
  EXPECT_NE(refusal([&] { documents_of({folder.write("bad.txt", mark + "ab\xff")}); }).find("at byte 5 of the file"),
            std::string::npos);
  EXPECT_EQ(documents_of({folder.write("within.txt", "one" + mark)}, {}), Documents{"one" + mark})
      << "only at the start";
}

TEST(Corpus, TruncatedAndDamagedCompressedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string text = sample_text(3, 300);
  for (const auto& [name, whole] : {std::pair{std::string("a.gz"), gzip(text)}, {std::string("a.zst"), zstd(text)}}) {
    for (size_t size = 0; size < whole.size(); size += size < 40 ? 1 : 37)
      EXPECT_NE(refusal([&] { documents_of({folder.write(name, whole.substr(0, size))}); }).find(name),
                std::string::npos)
          << size;
    EXPECT_NE(refusal([&] { documents_of({folder.write(name, whole.substr(0, whole.size() - 1))}); }).find(name),
              std::string::npos);
    EXPECT_NE(refusal([&] { documents_of({folder.write(name, whole + "rest")}); }).find(name), std::string::npos);
    EXPECT_NE(refusal([&] { documents_of({folder.write(name, text)}); }).find(name), std::string::npos);
  }
  std::string flipped = gzip(text);
  flipped[flipped.size() - 6] ^= 1;  // in the checksum
  const auto said_of = [&](const char* name) { return refusal([&] { documents_of({folder.write(name, flipped)}); }); };
  EXPECT_TRUE(said_of("b.gz").ends_with("b.gz] is damaged: its gzip data cannot be unpacked; copy it again"));
  flipped = zstd(text);
  flipped[4] ^= 8;  // the reserved bit of the frame's header
  EXPECT_TRUE(said_of("b.zst").ends_with("b.zst] is damaged: its zstd data cannot be unpacked; copy it again"));
}

TEST(Corpus, MissingFilesAndFoldersAreRefused) {
  const TemporaryFolder folder;
  EXPECT_NE(refusal([&] { documents_of({folder.path("absent.txt")}); }).find("absent.txt"), std::string::npos);
  EXPECT_NE(refusal([&] { documents_of({folder.path()}); }).find(folder.path()), std::string::npos);
}

TEST(Corpus, PipesAreReadToTheirEnd) {
  const TemporaryFolder folder;
  const std::string path = folder.path("pipe"), text = sample_text(4, 100000);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(path, std::ios::binary) << text; });
  EXPECT_EQ(documents_of({path}), Documents{text});
  writer.join();
}

// Characters that lie across a part's end, and lines that do.
TEST(Corpus, LongLinesComeInPartsOfWholeCharacters) {
  const TemporaryFolder folder;
  for (size_t before = 0; before < 5; ++before) {
    std::string text = std::string(before, 'x');
    while (text.size() < (3 << 20)) text += "\xf0\x9f\x98\x80\xe6\x97\xa5\xc3\xa9";
    text += "\nlast";
    CorpusReader reader({folder.write("a.txt", text)}, {});
    std::string joined;
    int parts = 0, ends = 0;
    for (DocumentPart part; reader.next(part); ++parts) {
      EXPECT_LE(part.text.size(), size_t{1} << 20);
      EXPECT_LT(find_bad_utf8(part.text), 0);
      joined += part.text;
      ends += part.ends_document;
    }
    EXPECT_TRUE(joined == text);
    EXPECT_GE(parts, 4);
    EXPECT_EQ(ends, 1);
  }
}

TEST(Corpus, HoldsOneDocumentAtATime) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 200000; ++i) lines += "line " + std::to_string(i) + "\n\n";
  const std::string path = folder.write("a.txt", lines);
  size_t documents = 0, longest = 0;
  read_documents({path}, separated_by(""), [&](std::string&& document) {
    ++documents;
    longest = std::max(longest, document.capacity());
  });
  EXPECT_EQ(documents, 200000u);
  EXPECT_LT(longest, 1000u);
}

// A few kilobytes can unpack to more than any memory.
TEST(Corpus, WhatGrowsBeyondALimitIsRefused) {
  const TemporaryFolder folder;
  const std::string one_line = std::string(4 << 20, 'a'), many_lines = [] {
    std::string text;
    for (int i = 0; i < (1 << 20); ++i) text += "a\n";
    return text;
  }();
  CorpusOptions options;
  options.largest_document = 1 << 20;
  for (const std::string& path : {folder.write("line.txt", one_line), folder.write("line.gz", gzip(one_line)),
                                  folder.write("line.jsonl.zst", zstd(one_line))})
    EXPECT_NE(
        refusal([&] { documents_of({path}, options); }).find("has a document of more than 1048576 bytes (at line 1)"),
        std::string::npos)
        << path;
  for (const std::string& path : {folder.write("lines.txt", many_lines), folder.write("lines.gz", gzip(many_lines))})
    EXPECT_NE(refusal([&] {
                documents_of({path}, options);
              }).find("has a document of more than 1048576 bytes (at line 524289)"),
              std::string::npos)
        << path;
  options.largest_document = 2 << 20;
  EXPECT_EQ(documents_of({folder.path("lines.gz")}, options), Documents{many_lines});
}

CorpusNotes notes_of(const std::vector<std::string>& inputs, const CorpusOptions& options) {
  CorpusReader reader(inputs, options);
  for (DocumentPart part; reader.next(part);) {
  }
  return reader.notes();
}

TEST(Corpus, NotesSeparatorsThatStandWithinLines) {
  const TemporaryFolder folder;
  CorpusOptions options;
  options.document_separator = "<[|]end[|]>";
  const std::string within = folder.write("within.txt", "one<|end|>two<|end|>\nthree\nfour<|end|>\n"),
                    whole = folder.write("whole.txt", "one\n<|end|>\ntwo <|end|> quoted\n<|end|>\n");
  const CorpusNotes notes = notes_of({whole, within}, options);
  EXPECT_EQ(notes.files, 2);
  EXPECT_EQ(notes.separators, 2);
  EXPECT_EQ(notes.inside_lines, 3);
  EXPECT_EQ(notes.first_inside, whole + ":3");
  EXPECT_EQ(notes_of({within}, options).first_inside, within + ":1");
  options.document_separator = "";  // which is within every line
  EXPECT_EQ(notes_of({within}, options).inside_lines, 0);
}

TEST(Corpus, NotesLargeFilesThatAreOneDocument) {
  const TemporaryFolder folder;
  std::string text;
  while (text.size() < 1'100'000) text += "another line\n";
  const std::string large = folder.write("large.txt", text), small = folder.write("small.txt", "a line\n"),
                    split = folder.write("split.txt", text + "\n" + text),
                    json = folder.write("json.jsonl", "{\"text\": \"" + std::string(1'100'000, 'x') + "\"}\n");
  const CorpusNotes notes = notes_of({small, large, json, split}, {});
  EXPECT_EQ(notes.whole_files, 2);
  EXPECT_EQ(notes.first_whole_file, large);
  CorpusOptions options;
  options.document_separator = "";
  EXPECT_EQ(notes_of({small, split}, options).whole_files, 0);
  EXPECT_EQ(notes_of({small, large}, options).whole_files, 1);
}

TEST(Corpus, AListNamesFilesOneALine) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.txt", "a"), b = folder.write("b b.txt", "b");
  EXPECT_EQ(read_file_list(folder.write("list", a + "\n\n" + b + "\r\n" + a)), (std::vector<std::string>{a, b, a}));
  EXPECT_EQ(read_file_list(folder.write("marked", "\xef\xbb\xbf" + a + "\n")), std::vector<std::string>{a})
      << "a list that an editor began with a byte order mark";
  const std::string list = folder.write("bad", a + "\n" + folder.path("absent") + "\n");
  EXPECT_NE(refusal([&] { read_file_list(list); }).find(list + ":2] there is no file '" + folder.path("absent")),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              read_file_list(folder.write("bad", folder.path() + "\n"));
            }).find("bad:1] '" + folder.path() + "' is a folder"),
            std::string::npos);
  const std::string nul = folder.write("nul", a + std::string(1, '\0') + b + std::string(1, '\0'));
  EXPECT_NE(refusal([&] { read_file_list(nul); }).find("nul:1] has a NUL"), std::string::npos);
  EXPECT_NE(refusal([&] { read_file_list(folder.write("bad", "\n\n")); }).find("names no files"), std::string::npos);
  EXPECT_NE(refusal([&] { read_file_list(folder.path("none")); }).find("there is no such file"), std::string::npos);
}

}  // namespace
}  // namespace gta
