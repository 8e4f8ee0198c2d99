#include "data/corpus.h"

#include <fcntl.h>
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
  EXPECT_EQ(documents_of({folder.write("a.txt", "aa\n\xc3\xa9\nbb\n")}, separated_by(".")), (Documents{"aa\n", "bb\n"}));
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
  const std::string path =
      folder.write("a.jsonl", "{\"text\": \"a\\nb\", \"id\": 1}\r\n\n{\"id\": 2, \"text\": \"\\u00e9\\ud83d\\ude00\"}\n{\"text\": \"\"}");
  EXPECT_EQ(documents_of({path}), (Documents{"a\nb", "\xc3\xa9\xf0\x9f\x98\x80"}));
  CorpusOptions options;
  options.field = "content";
  EXPECT_EQ(documents_of({folder.write("b.jsonl", "{\"content\": \"c\"}\n")}, options), Documents{"c"});
}

TEST(Corpus, BadJsonLinesAreRefusedWithTheirLine) {
  const TemporaryFolder folder;
  const std::string good = "{\"text\": \"a\"}\n";
  const std::string no_object = "is not a JSON object", no_field = "has no text field 'text'";
  for (const auto& [bad, part] : std::vector<std::pair<std::string, std::string>>{{"{\"text\": \"a\"", no_object},
                                                                                  {"[\"text\"]", no_object},
                                                                                  {"{\"text\": \"\\ud800\"}", no_object},
                                                                                  {"{\"text\": \"a\"} {}", no_object},
                                                                                  {"{\"Text\": \"a\"}", no_field},
                                                                                  {"{\"text\": 3}", no_field}}) {
    const std::string path = folder.write("a.jsonl", good + "\n" + bad + "\n" + good);
    EXPECT_NE(refusal([&] { documents_of({path}); }).find("a.jsonl:3] " + part), std::string::npos) << bad;
  }
}

TEST(Corpus, InvalidUtf8IsRefusedWithItsFileAndByte) {
  const TemporaryFolder folder;
  for (const char* bad : {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98"}) {
    const std::string path = folder.write("a.txt", std::string("good\nline\xc3\xa9 ") + bad + "\nmore\n");
    const std::string message = refusal([&] { documents_of({path}); });
    EXPECT_NE(message.find("a.txt"), std::string::npos);
    EXPECT_NE(message.find("byte 12 "), std::string::npos) << message;
  }
  EXPECT_NE(refusal([&] { documents_of({folder.write("b.jsonl", "{\"text\": \"\xff\"}")}); }).find("byte 10 "), std::string::npos);
}

TEST(Corpus, LastAndFirstCharactersOfEachLengthAreTaken) {
  const TemporaryFolder folder;
  const std::string text = "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
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

TEST(Corpus, TruncatedAndDamagedCompressedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string text = sample_text(3, 300);
  for (const auto& [name, whole] : {std::pair{std::string("a.gz"), gzip(text)}, {std::string("a.zst"), zstd(text)}}) {
    for (size_t size = 0; size < whole.size(); size += size < 40 ? 1 : 37)
      EXPECT_NE(refusal([&] { documents_of({folder.write(name, whole.substr(0, size))}); }).find(name), std::string::npos) << size;
    EXPECT_NE(refusal([&] { documents_of({folder.write(name, whole.substr(0, whole.size() - 1))}); }).find(name), std::string::npos);
    EXPECT_NE(refusal([&] { documents_of({folder.write(name, whole + "rest")}); }).find(name), std::string::npos);
    EXPECT_NE(refusal([&] { documents_of({folder.write(name, text)}); }).find(name), std::string::npos);
  }
  std::string flipped = gzip(text);
  flipped[flipped.size() - 6] ^= 1;  // in the checksum
  EXPECT_NE(refusal([&] { documents_of({folder.write("b.gz", flipped)}); }).find("b.gz"), std::string::npos);
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
  for (const std::string& path :
       {folder.write("line.txt", one_line), folder.write("line.gz", gzip(one_line)), folder.write("line.jsonl.zst", zstd(one_line))})
    EXPECT_NE(refusal([&] { documents_of({path}, options); }).find("has a line of more than 1048576 bytes"), std::string::npos) << path;
  for (const std::string& path : {folder.write("lines.txt", many_lines), folder.write("lines.gz", gzip(many_lines))})
    EXPECT_NE(refusal([&] { documents_of({path}, options); }).find("has a document of more than 1048576 bytes (at line 524289)"),
              std::string::npos)
        << path;
  options.largest_document = 2 << 20;
  EXPECT_EQ(documents_of({folder.path("lines.gz")}, options), Documents{many_lines});
}

}  // namespace
}  // namespace gta
