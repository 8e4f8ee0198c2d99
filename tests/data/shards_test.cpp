#include "data/shards.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <set>
#include <span>
#include <thread>

#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "core/parallel.h"
#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

constexpr int64_t kBlockTokens = (1 << 20) / 2;  // uint16 tokens of one hashed block
constexpr int64_t kPageTokens = (1 << 14) / 2;   // and of one page

std::vector<int32_t> tokens_of(const TokenShard& shard) {
  std::vector<int32_t> tokens(shard.summary().tokens);
  shard.read(0, shard.summary().tokens, tokens.data());
  return tokens;
}

std::vector<uint64_t> offsets_of(const TokenShard& shard) {
  return shard.document_offsets(0, shard.summary().documents + 1);
}

// Documents split by empty lines, in one shard.
std::string write_one(const TemporaryFolder& folder, const std::string& text, const std::string& name = "train") {
  CorpusOptions options;
  options.document_separator = "";
  return write_shards(small_tokenizer(), {folder.write("text.txt", text)}, options, folder.path(), name).at(0);
}

// A shard of several blocks, written once for the whole program and copied to where a test may damage it.
std::string long_shard(const TemporaryFolder& folder) {
  static const TemporaryFolder shared;
  static const std::string written = [] {
    std::string text;
    for (int i = 0; i < 60; ++i) text += sample_text(i, 12000) + "\n\n";
    return write_one(shared, text);
  }();
  std::filesystem::copy_file(written, folder.path("train-00000.h5"));
  return folder.path("train-00000.h5");
}

// A shard whose hashes are all right and whose content is not: only its own checks stand between it and the model.
// Without page hashes, as earlier builds wrote them.
struct HostileShard {
  std::vector<uint16_t> tokens = {1, 5, 6, 2};
  std::vector<int64_t> shape = {4};
  std::vector<uint64_t> offsets = {0, 4};
  int64_t vocab_size = 400, end_of_document = 2, text_bytes = 2;
  uint64_t tokenizer_hash = small_tokenizer().hash();
  int64_t extra_hashes = 0;

  std::string write(const TemporaryFolder& folder) const {
    std::vector<uint64_t> hashes;
    for (size_t at = 0; at < tokens.size(); at += kBlockTokens)
      hashes.push_back(hash_bytes(tokens.data() + at, std::min<size_t>(kBlockTokens, tokens.size() - at) * 2));
    hashes.resize(hashes.size() + extra_hashes);
    Hasher tables, header;
    tables.update(offsets.data(), offsets.size() * 8);
    tables.update(hashes.data(), hashes.size() * 8);
    const uint64_t values[] = {1,
                               static_cast<uint64_t>(vocab_size),
                               static_cast<uint64_t>(end_of_document),
                               static_cast<uint64_t>(text_bytes),
                               tokenizer_hash,
                               tables.digest()};
    header.update(values, sizeof values);
    header.update("made", 4);
    const std::string path = folder.path("hostile.h5");
    hdf5::Writer writer(path);
    writer.add("/tokens", shape, DType::U16);
    writer.add("/document_offsets", {static_cast<int64_t>(offsets.size())}, DType::U64);
    writer.add("/block_hashes", {static_cast<int64_t>(hashes.size())}, DType::U64);
    writer.set_integer("format_version", 1);
    writer.set_integer("vocab_size", vocab_size);
    writer.set_integer("end_of_document", end_of_document);
    writer.set_integer("text_bytes", text_bytes);
    writer.set_text("tokenizer_hash", hash_text(tokenizer_hash));
    writer.set_text("header_hash", hash_text(header.digest()));
    writer.set_text("source", "made");
    const auto datasets = writer.close();
    const File file(path, File::Mode::ReadWrite);
    file.write_at(tokens.data(), static_cast<int64_t>(tokens.size() * 2), datasets[0].offset);
    file.write_at(offsets.data(), static_cast<int64_t>(offsets.size() * 8), datasets[1].offset);
    file.write_at(hashes.data(), static_cast<int64_t>(hashes.size() * 8), datasets[2].offset);
    return path;
  }
};

// Where the shard's tokens begin in its file.
int64_t offset_of_tokens(const std::string& path) { return hdf5::Reader(path).dataset("/tokens").offset; }

TEST(Shards, GiveBackTheDocuments) {
  const TemporaryFolder folder;
  const Tokenizer& tokenizer = small_tokenizer();
  const TokenShard shard(write_one(folder, "In the beginning\n\n  two\nlines \xf0\x9f\x98\x80\n\nend"));
  const std::vector<std::string> documents = {"In the beginning\n", "  two\nlines \xf0\x9f\x98\x80\n", "end"};
  const std::vector<int32_t> tokens = tokens_of(shard);
  const std::vector<uint64_t> offsets = offsets_of(shard);
  ASSERT_EQ(offsets.size(), 4u);
  int64_t bytes = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const std::vector<int32_t> ids(tokens.begin() + offsets[i], tokens.begin() + offsets[i + 1]);
    EXPECT_EQ(ids.front(), tokenizer.bos());
    EXPECT_EQ(ids.back(), tokenizer.eos());
    EXPECT_EQ(ids, tokenizer.encode_document(documents[i]));
    EXPECT_EQ(tokenizer.decode(ids), documents[i]);
    bytes += static_cast<int64_t>(documents[i].size());
  }
  const ShardSummary& summary = shard.summary();
  EXPECT_EQ(summary.documents, 3);
  EXPECT_EQ(summary.text_bytes, bytes);
  EXPECT_EQ(summary.vocab_size, 400);
  EXPECT_EQ(summary.end_of_document, tokenizer.eos());
  EXPECT_EQ(summary.tokenizer_hash, tokenizer.hash());
  EXPECT_EQ(summary.source, "text.txt");
  shard.check_tokenizer(tokenizer);
  shard.verify();
}

TEST(Shards, WindowsReadTheSameAcrossBlocks) {
  const TemporaryFolder folder;
  const TokenShard shard(long_shard(folder));
  ASSERT_GT(shard.summary().tokens, 2 * kBlockTokens);
  const std::vector<int32_t> tokens = tokens_of(shard);
  for (int64_t first : {int64_t{0}, kBlockTokens - 3, kBlockTokens, 2 * kBlockTokens - 1, shard.summary().tokens - 7}) {
    const TokenShard fresh(shard.summary().path);
    std::vector<int32_t> window(7);
    fresh.read(first, 7, window.data());
    EXPECT_TRUE(std::equal(window.begin(), window.end(), tokens.begin() + first)) << first;
  }
  std::vector<int32_t> none(1, 77);
  shard.read(shard.summary().tokens, 0, none.data());
  EXPECT_EQ(none[0], 77);
}

TEST(Shards, ReadsBeyondTheEndAreErrors) {
  const TemporaryFolder folder;
  const TokenShard shard(write_one(folder, "a b c"));
  std::vector<int32_t> window(100);
  for (const auto& [first, count] :
       {std::pair<int64_t, int64_t>{0, shard.summary().tokens + 1}, {-1, 2}, {0, -1}, {INT64_MAX, 2}, {2, INT64_MAX}})
    EXPECT_THROW(shard.read(first, count, window.data()), Error) << first;
}

TEST(Shards, ThreadsMayReadOneShard) {
  const TemporaryFolder folder;
  const TokenShard shard(long_shard(folder));
  const std::vector<int32_t> tokens = tokens_of(TokenShard(shard.summary().path));
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::vector<int32_t> window(64);
      for (int64_t first = t; first + 64 <= shard.summary().tokens; first += 10007) {
        shard.read(first, 64, window.data());
        wrong[t] += !std::equal(window.begin(), window.end(), tokens.begin() + first);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Shards, NoDocumentCrossesAShardAndNoneIsLost) {
  const TemporaryFolder folder;
  const Tokenizer& tokenizer = small_tokenizer();
  std::string text;
  std::vector<std::string> documents;
  for (int i = 0; i < 50; ++i) documents.push_back("document " + sample_text(i, i == 20 ? 400 : 10) + "\n");
  for (std::string& document : documents) {
    for (size_t at = document.find("\n\n"); at != std::string::npos; at = document.find("\n\n")) document.erase(at, 1);
    text += document + "\n";
  }
  CorpusOptions options;
  options.document_separator = "";
  const std::string input = folder.write("text.txt", text);
  const int64_t limit = 200;
  const std::vector<std::string> paths =
      write_shards(tokenizer, {input}, options, folder.path("shards"), "part", limit);
  ASSERT_GT(paths.size(), 3u);
  EXPECT_EQ(paths[1], folder.path("shards/part-00001.h5"));
  std::vector<std::string> found;
  for (const std::string& path : paths) {
    const TokenShard shard(path);
    const std::vector<int32_t> tokens = tokens_of(shard);
    const std::vector<uint64_t> offsets = offsets_of(shard);
    EXPECT_TRUE(shard.summary().tokens <= limit || shard.summary().documents == 1) << path;
    for (int64_t i = 0; i < shard.summary().documents; ++i)
      found.push_back(tokenizer.decode(std::span(tokens).subspan(offsets[i], offsets[i + 1] - offsets[i])));
  }
  EXPECT_EQ(found, documents);
}

TEST(Shards, FullVocabulariesNeedAndGetFourBytes) {
  // Appended messages of a serialized repeated field are further pieces: characters of a private area, from id 400 on.
  std::string model = small_tokenizer().bytes();
  const auto add_piece = [&](const std::string& piece) {
    const std::string inner =
        // its score: -1000
        std::string("\x0a") + static_cast<char>(piece.size()) + piece + std::string("\x15\0\0\x7a\xc4", 5);
    model += std::string("\x0a") + static_cast<char>(inner.size()) + inner;
  };
  for (int i = 400; i < 70000; ++i) add_piece("zq" + std::to_string(i));
  add_piece("\xee\x80\x80");
  const Tokenizer wide = Tokenizer::from_bytes(model, "wide");
  ASSERT_EQ(wide.vocab_size(), 70001);
  ASSERT_EQ(wide.encode("a\xee\x80\x80").back(), 70000);
  const TemporaryFolder folder;
  const TokenShard shard(write_shards(wide, {folder.write("a.txt", "a\xee\x80\x80")}, {}, folder.path(), "wide").at(0));
  EXPECT_EQ(tokens_of(shard), wide.encode_document("a\xee\x80\x80"));
  EXPECT_EQ(hdf5::Reader(shard.summary().path).dataset("/tokens").dtype, DType::U32);
  EXPECT_EQ(hdf5::Reader(write_one(folder, "a")).dataset("/tokens").dtype, DType::U16);
}

TEST(Shards, BadInputWritesNothingEvenAfterGoodShards) {
  const TemporaryFolder folder;
  const std::string good = folder.write("good.txt", sample_text(1, 500)), bad = folder.write("bad.txt", "\xff");
  EXPECT_NE(refusal([&] {
              write_shards(small_tokenizer(), {good, good, bad}, {}, folder.path("out"), "train", 100);
            }).find("bad.txt"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder.path("out"))) << "a bad file is found before any work";
  refusal([&] { write_shards(small_tokenizer(), {folder.write("empty.txt", "")}, {}, folder.path("out"), "train"); });
  refusal([&] { write_shards(small_tokenizer(), {good}, {}, folder.path("out"), "train", 0); });
  refusal([&] { write_shards(small_tokenizer(), {good}, {}, folder.path("out"), "../train"); });
  refusal([&] { write_shards(small_tokenizer(), {good}, {}, folder.path("out"), ""); });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("out")));
}

// What cannot be read twice is met in mid-work.
TEST(Shards, BadInputOfAPipeLeavesNothing) {
  const TemporaryFolder folder;
  const std::string good = folder.write("good.txt", sample_text(1, 500)), pipe = folder.path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << "\xff"; });
  EXPECT_NE(refusal([&] {
              write_shards(small_tokenizer(), {good, good, pipe}, {}, folder.path("out"), "train", 100);
            }).find("pipe:1] is not UTF-8"),
            std::string::npos);
  writer.join();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("out")));
}

// Many documents, some of many segments, in several shards.
TEST(Shards, AreTheSameForAnyNumberOfThreads) {
  const TemporaryFolder folder;
  std::string text;
  std::vector<std::string> documents;
  for (int i = 0; i < 40; ++i) {
    std::string document = "x" + sample_text(i, i % 13 == 0 ? 40000 : 50);
    for (size_t at = document.find("\n\n"); at != std::string::npos; at = document.find("\n\n")) document.erase(at, 1);
    if (!document.ends_with('\n')) document += '\n';
    documents.push_back(document);
    text += document + "\n";
  }
  CorpusOptions options;
  options.document_separator = "";
  const std::string input = folder.write("text.txt", text);
  std::vector<std::vector<int32_t>> tokens;
  const int before = threads();
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    tokens.emplace_back();
    const auto paths =
        write_shards(small_tokenizer(), {input}, options, folder.path(std::to_string(count)), "t", 60000);
    EXPECT_GT(paths.size(), 3u);
    for (const std::string& path : paths)
      for (const int32_t token : tokens_of(TokenShard(path))) tokens.back().push_back(token);
  }
  set_threads(before);
  std::vector<int32_t> expected;
  for (const std::string& document : documents)
    for (const int32_t token : small_tokenizer().encode_document(document)) expected.push_back(token);
  for (const auto& each : tokens) EXPECT_TRUE(each == expected);
}

TEST(Shards, TextThatATokenizerLosesIsSaid) {
  const TemporaryFolder folder;
  const std::string chinese = "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e";
  const std::string input = folder.write("a.txt", "aback\n\nlo " + chinese + "\n\nmin");
  CorpusOptions options;
  options.document_separator = "";
  testing::internal::CaptureStderr();
  write_shards(small_tokenizer(), {input}, options, folder.path("whole"), "train");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  const TokenShard shard(
      write_shards(tokenizer_that_loses_text(), {input}, options, folder.path("lost"), "train").at(0));
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("2 of 3 documents do not come back from their tokens as they were, the first of them near " +
                      input + ":"),
            std::string::npos)
      << said;
  EXPECT_NE(said.find("of 22 bytes of text the tokens stand for 11"), std::string::npos) << said;
  EXPECT_EQ(shard.summary().text_bytes, 22);
}

TEST(Shards, FailedWritingKeepsTheShardsThatWere) {
  const TemporaryFolder folder;
  const std::string path = write_one(folder, "the old text"), before = bytes_of(path);
  const std::string good = folder.write("good.txt", sample_text(1, 500)), bad = folder.write("bad.txt", "\xff");
  refusal([&] { write_shards(small_tokenizer(), {good, bad}, {}, folder.path(), "train", 100); });
  EXPECT_EQ(bytes_of(path), before);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"bad.txt", "good.txt", "text.txt", "train-00000.h5"}));
}

TEST(Shards, AreNotWrittenOverOthersUnlessAskedFor) {
  const TemporaryFolder folder;
  const std::string text = folder.write("text.txt", sample_text(1, 500)), out = folder.path("out");
  ASSERT_GT(write_shards(small_tokenizer(), {text, text}, {}, out, "train", 100).size(), 1u);
  write_shards(small_tokenizer(), {text}, {}, out, "train-more");  // another name is none of them
  const std::string before = bytes_of(out + "/train-00000.h5");
  ShardSettings settings{.directory = out};
  const std::string said = refusal([&] { write_shards(small_tokenizer(), {text}, {}, settings); });
  for (const char* part : {"train-00000.h5] is there already (2 shards of the name 'train')", "--replace"})
    EXPECT_NE(said.find(part), std::string::npos) << said;
  EXPECT_EQ(bytes_of(out + "/train-00000.h5"), before);

  settings.existing = ExistingShards::Replace;
  EXPECT_EQ(write_shards(small_tokenizer(), {text}, {}, settings).paths.size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(out + "/train-00001.h5")) << "left from the older, larger set";
  EXPECT_TRUE(std::filesystem::exists(out + "/train-more-00000.h5"));
  settings = {.directory = out, .hold_out = 0.5};
  EXPECT_NE(refusal([&] { write_shards(small_tokenizer(), {text}, {}, settings); }).find("--replace"),
            std::string::npos);
}

TEST(Shards, WhatAKilledProcessLeftGoesAndTwoAtOnceAreRefused) {
  const TemporaryFolder folder;
  const std::string text = folder.write("text.txt", sample_text(1, 500)), out = folder.path("out");
  make_directories(out);
  for (const char* left : {"train-00000.h5.tmp-123", "validation-other-00007.h5.tmp-99"})
    folder.write("out/" + std::string(left), "x");
  for (const char* own : {"train-00000.h5.tmp", "notes.tmp-12"}) folder.write("out/" + std::string(own), "x");
  const int other = ::open(out.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  EXPECT_NE(refusal([&] { write_shards(small_tokenizer(), {text}, {}, out, "train"); }, ErrorKind::Failed)
                .find("out] is written to by another process: wait for it"),
            std::string::npos);
  EXPECT_EQ(list_directory(out).size(), 4u) << "they may be the other's";
  ::close(other);
  write_shards(small_tokenizer(), {text}, {}, out, "train");
  EXPECT_EQ(list_directory(out), (std::vector<std::string>{"notes.tmp-12", "train-00000.h5", "train-00000.h5.tmp"}));
}

std::vector<std::string> texts_of(const std::vector<std::string>& paths) {
  std::vector<std::string> texts;
  for (const std::string& path : paths) {
    const TokenShard shard(path);
    const std::vector<int32_t> tokens = tokens_of(shard);
    const std::vector<uint64_t> offsets = offsets_of(shard);
    for (size_t i = 0; i + 1 < offsets.size(); ++i)
      texts.push_back(small_tokenizer().decode(std::span(tokens).subspan(offsets[i], offsets[i + 1] - offsets[i])));
  }
  return texts;
}

TEST(Shards, HeldOutDocumentsAreWholeAndTheSameInALargerCorpus) {
  const TemporaryFolder folder;
  CorpusOptions options;
  options.document_separator = "";
  std::string first, more;
  for (int i = 0; i < 200; ++i) first += sample_text(i, 20 + i) + "\n\n";
  first += "the last one ends with its file";                               // without a line end
  for (int i = 100; i < 300; ++i) more += sample_text(i, 20 + i) + "\n\n";  // half of them again
  const std::string a = folder.write("a.txt", first),
                    b = folder.write("b.txt", sample_text(400, 9) + "\n\n" + first + "\n\n" + more);
  const auto made = [&](const std::string& input, const char* name, double hold_out) {
    return write_shards(small_tokenizer(), {input}, options,
                        {.directory = folder.path(name), .shard_tokens = 5000, .hold_out = hold_out});
  };
  const ShardReport small = made(a, "small", 0.1);
  const std::vector<std::string> held = texts_of(small.held_out_paths), kept = texts_of(small.paths);
  EXPECT_EQ(held.size() + kept.size(), 201u);
  EXPECT_EQ(small.encoding.documents, 201);
  EXPECT_GE(held.size(), 10u);  // 20, or some more or fewer
  EXPECT_LE(held.size(), 32u);
  EXPECT_EQ(small.held_out_paths.front(), folder.path("small/validation-00000.h5"));
  EXPECT_GT(small.paths.size(), 1u);

  const std::vector<std::string> all = documents_of({a}, options);
  for (const std::string& text : held) EXPECT_EQ(std::count(all.begin(), all.end(), text), 1);

  // As sets, without the line ends that depend on what follows.
  const auto ends_cut = [](std::vector<std::string> texts) {
    for (std::string& text : texts) text.erase(text.find_last_not_of("\r\n") + 1);
    return std::set<std::string>(texts.begin(), texts.end());
  };
  const ShardReport large = made(b, "large", 0.1);
  const auto held_before = ends_cut(held), kept_before = ends_cut(kept),
             held_after = ends_cut(texts_of(large.held_out_paths)), kept_after = ends_cut(texts_of(large.paths));
  for (const std::string& text : held_before) EXPECT_TRUE(held_after.contains(text));
  for (const std::string& text : kept_before) EXPECT_TRUE(kept_after.contains(text));
  for (const std::string& text : held_after) EXPECT_FALSE(kept_after.contains(text)) << "the same text on both sides";
  EXPECT_GT(held_after.size(), held_before.size());
  // A larger part holds out those of a smaller one, and more.
  const auto half = ends_cut(texts_of(made(a, "half", 0.5).held_out_paths));
  for (const std::string& text : held_before) EXPECT_TRUE(half.contains(text));
}

// One hash for a text, wherever it stands and however it comes: whole, in parts, and with what follows it or nothing.
TEST(EncodedCorpus, ADocumentsHashIsThatOfItsTextWithoutTheLineEndsAtItsEnd) {
  const TemporaryFolder folder;
  CorpusOptions options;
  const auto hashes_of = [&](const std::string& name, const std::string& bytes) {
    std::vector<uint64_t> hashes;
    encode_corpus(small_tokenizer(), {folder.write(name, bytes)}, options, [&](const EncodedPart& part) {
      if (part.ends_document) hashes.push_back(part.document_hash);
    });
    return hashes;
  };
  const std::string text = "\n\nba ker\n\nlo";
  const std::vector<uint64_t> its = {hash_bytes(text)};
  for (const char* end : {"", "\n", "\r\n", "\n\n\r\n"}) EXPECT_EQ(hashes_of("a.txt", text + end), its);
  EXPECT_EQ(hashes_of("a.jsonl", "{\"text\": \"\\n\\nba ker\\n\\nlo\\n\"}\n"), its);
  EXPECT_NE(hashes_of("a.txt", text + " "), its);
  std::string longer;
  while (longer.size() < 3'000'000) longer += sample_text(longer.size(), 1000) + "\n\n";
  longer += "end";
  options.document_separator = "---";
  EXPECT_EQ(hashes_of("b.txt", longer + "\n\n---\n" + text + "\n---\n" + longer),
            (std::vector<uint64_t>{hash_bytes(longer), its[0], hash_bytes(longer)}));
}

TEST(Shards, AHeldOutPartThatIsEmptyOrAllIsRefusedBeforeAnythingAppears) {
  const TemporaryFolder folder;
  const std::string text = folder.write("text.txt", sample_text(1, 500)), out = folder.path("out");
  const std::string none =
      refusal([&] { write_shards(small_tokenizer(), {text}, {}, {.directory = out, .hold_out = 1e-9}); });
  EXPECT_NE(none.find("of 1 documents none is held out"), std::string::npos) << none;
  EXPECT_NE(refusal([&] {
              write_shards(small_tokenizer(), {text}, {}, {.directory = out, .hold_out = 1 - 1e-9});
            }).find("all 1 documents are held out"),
            std::string::npos);
  for (const double part : {-0.1, 1.0, std::nan("")})
    EXPECT_NE(refusal([&] {
                write_shards(small_tokenizer(), {text}, {}, {.directory = out, .hold_out = part});
              }).find("from 0 up to 1"),
              std::string::npos);
  EXPECT_NE(refusal([&] {
              write_shards(small_tokenizer(), {text}, {}, {.directory = out, .name = "validation", .hold_out = 0.1});
            }).find("named validation"),
            std::string::npos);
  EXPECT_TRUE(!std::filesystem::exists(out) || std::filesystem::is_empty(out));
}

TEST(Shards, ReportHowLongDocumentsAre) {
  const TemporaryFolder folder;
  CorpusOptions options;
  options.document_separator = "";
  const std::string text = folder.write("text.txt", "ba\n\n\nkerlo\n\n\n" + std::string(99, 'x') + "\n\nlo lo lo\n");
  const EncodingReport report =
      write_shards(small_tokenizer(), {text}, options, {.directory = folder.path("out")}).encoding;
  EXPECT_EQ(report.bytes.documents(), 4);
  EXPECT_EQ(report.bytes.least(), 3);
  EXPECT_EQ(report.bytes.largest(), 100);
  EXPECT_EQ(report.bytes.median(), 6);  // the lower one of 6 and 9
  EXPECT_EQ(report.bytes.mean(), (3 + 6 + 100 + 9) / 4);
  EXPECT_EQ(report.tokens.least(), static_cast<int64_t>(small_tokenizer().encode_document("ba\n").size()));
}

TEST(Shards, SameInputGivesTheSameContent) {
  const TemporaryFolder folder;
  const TokenShard a(write_one(folder, "one\n\ntwo", "a")), b(write_one(folder, "one\n\ntwo", "b")),
      c(write_one(folder, "one two", "c"));
  EXPECT_EQ(a.content_hash(), b.content_hash());
  EXPECT_NE(a.content_hash(), c.content_hash());
}

TEST(Shards, AnotherTokenizerIsRefused) {
  const TemporaryFolder folder;
  train_tokenizer({sample_text(9, 4000)}, 400, folder.path("other.model"));
  const Tokenizer other = Tokenizer::load(folder.path("other.model"));
  const TokenShard shard(write_one(folder, "text"));
  const std::string message = refusal([&] { shard.check_tokenizer(other); });
  EXPECT_NE(message.find("train-00000.h5"), std::string::npos);
}

TEST(Shards, ChangedTokensAreRefusedWhenTheirPageIsReadAndNoOtherIs) {
  const TemporaryFolder folder;
  const std::string path = long_shard(folder);
  std::string bytes = bytes_of(path);
  bytes[offset_of_tokens(path) + 2 * (kBlockTokens + 5)] ^= 1;
  folder.write("train-00000.h5", bytes);
  const TokenShard shard(path);
  std::vector<int32_t> window(8);
  shard.read(0, 8, window.data());
  shard.read(kBlockTokens + kPageTokens, 8, window.data());  // the block's next page
  for (int attempt = 0; attempt < 2; ++attempt)
    EXPECT_NE(refusal([&] { shard.read(kBlockTokens + 100, 8, window.data()); }).find("tokens 524288 to 532479"),
              std::string::npos);
  refusal([&] { shard.read(kBlockTokens - 4, 8, window.data()); });
  refusal([&] { shard.read(kBlockTokens + kPageTokens - 4, 8, window.data()); });
  refusal([&] { shard.verify(); });
}

TEST(Shards, WhatIsDamagedAfterTheFirstReadIsRefusedAtTheNext) {
  const TemporaryFolder folder;
  const std::string path = long_shard(folder);
  const TokenShard shard(path);
  std::vector<int32_t> window(8);
  shard.read(100, 8, window.data());
  const int64_t offset = offset_of_tokens(path);
  const File file(path, File::Mode::ReadWrite);
  char byte = 0;
  file.read_at(&byte, 1, offset + 200);
  byte ^= 1;
  file.write_at(&byte, 1, offset + 200);
  EXPECT_NE(refusal([&] { shard.read(100, 8, window.data()); }).find("do not have their hash"), std::string::npos);
  // The documents' bounds too.
  const int64_t offsets = hdf5::Reader(path).dataset("/document_offsets").offset;
  const TokenShard again(path);
  EXPECT_EQ(again.document_starts(0, 0), std::vector<uint64_t>{0});
  byte = 1;
  file.write_at(&byte, 1, offsets + 7);
  EXPECT_NE(refusal([&] { again.document_starts(0, 0); }).find(path), std::string::npos);
}

// The kernel's own count: with blocks of 1 MiB it would be 64 times as much.
TEST(Shards, AWindowReadsLittleMoreThanItself) {
  const auto bytes_read = [] {
    std::ifstream counters("/proc/self/io");
    std::string name;
    int64_t bytes = 0;
    counters >> name >> bytes;
    return name == "rchar:" ? bytes : -1;
  };
  if (bytes_read() < 0) GTEST_SKIP() << "this system does not count what a process reads";
  const TemporaryFolder folder;
  const TokenShard shard(long_shard(folder));
  std::vector<int32_t> window(1024);
  const int64_t before = bytes_read();
  shard.read(kPageTokens + 100, 1024, window.data());
  EXPECT_LT(bytes_read() - before, 40000) << "a window of 2 KiB";
}

TEST(Shards, DocumentStartsAreThoseOfTheTable) {
  const TemporaryFolder folder;
  HostileShard made;  // 3000 documents, some of them empty: several chunks of the table
  made.tokens.assign(5000, 7);
  made.shape = {5000};
  made.offsets = {0};
  for (int i = 0; i < 3000; ++i)
    made.offsets.push_back(std::min<uint64_t>(5000, made.offsets.back() + (i * 7919 % 5 == 0 ? 0 : 1 + i % 3)));
  made.offsets.push_back(5000);
  const TokenShard shard(made.write(folder));
  ASSERT_EQ(offsets_of(shard), made.offsets);
  for (const int64_t first : {0, 1, 77, 500, 1023, 2048, 3999, 4990, 5000})
    for (const int64_t length : {0, 1, 5, 600, 5000}) {
      std::vector<uint64_t> expected;
      for (const uint64_t offset : made.offsets)
        if (static_cast<int64_t>(offset) >= first && static_cast<int64_t>(offset) <= first + length &&
            (expected.empty() || expected.back() != offset))
          expected.push_back(offset);
      EXPECT_EQ(shard.document_starts(first, first + length), expected) << first << " + " << length;
    }
  EXPECT_THROW(shard.document_offsets(-1, 2), Error);
  EXPECT_THROW(shard.document_offsets(2999, 1000), Error);
  EXPECT_THROW(shard.document_offsets(1, INT64_MAX), Error);
}

TEST(Shards, WithoutPageHashesAreReadByBlocksAndAreTheSameContent) {
  const TemporaryFolder folder;
  const std::string path = long_shard(folder), old = folder.path("old.h5");
  const TokenShard paged(path);
  const std::vector<int32_t> tokens = tokens_of(paged);
  HostileShard made;
  made.tokens.assign(tokens.begin(), tokens.end());
  made.shape = {paged.summary().tokens};
  made.offsets = offsets_of(paged);
  std::filesystem::rename(made.write(folder), old);
  const TokenShard shard(old);
  EXPECT_EQ(tokens_of(shard), tokens);
  EXPECT_EQ(shard.content_hash(), paged.content_hash()) << "a run goes on with shards that were written again";
  shard.verify();
  std::vector<int32_t> window(8);
  std::string bytes = bytes_of(old);
  bytes[offset_of_tokens(old) + 2 * (kBlockTokens + 5)] ^= 1;
  std::ofstream(old, std::ios::binary) << bytes;
  shard.read(0, 8, window.data());
  EXPECT_NE(refusal([&] { shard.read(kBlockTokens + kPageTokens, 8, window.data()); }).find("do not have their hash"),
            std::string::npos);
}

TEST(Shards, MoreOfThemThanDescriptorsCanBeOpenAtOnce) {
  const TemporaryFolder folder;
  const std::string first = write_one(folder, "text of a small shard");
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  const auto files = std::make_shared<OpenFiles>(3);
  std::vector<TokenShard> shards;
  for (int i = 0; i < 20; ++i) {
    const std::string path = folder.path(std::to_string(i) + ".h5");
    std::filesystem::copy_file(first, path);
    shards.emplace_back(path, files);
  }
  const std::vector<int32_t> tokens = tokens_of(shards[0]);
  for (int round = 0; round < 2; ++round)
    for (const TokenShard& shard : shards) {
      EXPECT_EQ(tokens_of(shard), tokens);
      EXPECT_LE(descriptors(), before + 3);
    }
  std::filesystem::remove(folder.path("0.h5"));
  EXPECT_THROW(tokens_of(shards[0]), Error);
}

// One flipped bit anywhere is refused by the time all was checked, or lies where nothing is kept.
TEST(Shards, AnyChangedByteIsRefusedOrChangesNothing) {
  const TemporaryFolder folder;
  const std::string path = write_one(folder, "In the beginning\n\nend of a small text"), good = bytes_of(path);
  const TokenShard whole(path);
  const std::vector<int32_t> tokens = tokens_of(whole);
  const ShardSummary summary = whole.summary();
  int refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    if (good[at] == 0 && at % 7 != 0) continue;  // most of a small file is room that HDF5 does not use
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    folder.write("train-00000.h5", bytes);
    try {
      const TokenShard shard(path);
      shard.check_tokenizer(small_tokenizer());
      shard.verify();
      const ShardSummary& s = shard.summary();
      EXPECT_EQ(tokens_of(shard), tokens) << "byte " << at;
      EXPECT_EQ(offsets_of(shard), offsets_of(whole)) << "byte " << at;
      EXPECT_TRUE(s.source == summary.source && s.text_bytes == summary.text_bytes &&
                  s.end_of_document == summary.end_of_document)
          << "byte " << at;
    } catch (const Error& error) {
      ++refused;
      EXPECT_NE(std::string(error.what()).find("train-00000.h5"), std::string::npos)
          << "byte " << at << ": " << error.what();
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << "byte " << at << ": " << error.what();
    }
  }
  EXPECT_GT(refused, 400) << "headers, tables and tokens are some 600 bytes, and HDF5 writes the time into them";
}

TEST(Shards, TruncatedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string path = write_one(folder, sample_text(1, 200)), good = bytes_of(path);
  const std::vector<int32_t> tokens = tokens_of(TokenShard(path));
  for (size_t size = 0; size < good.size(); size += size < 512 ? 1 : 41) {
    folder.write("train-00000.h5", good.substr(0, size));
    EXPECT_NE(refusal([&] { TokenShard(path).verify(); }).find("train-00000.h5"), std::string::npos) << size;
  }
}

TEST(Shards, FileThatShrinksUnderTheReaderIsAnError) {
  const TemporaryFolder folder;
  const std::string path = long_shard(folder);
  const TokenShard shard(path);
  std::filesystem::resize_file(path, static_cast<uintmax_t>(offset_of_tokens(path)) + 100);
  std::vector<int32_t> window(8);
  EXPECT_THROW(shard.read(kBlockTokens, 8, window.data()), Error);
}

TEST(Shards, FilesThatAreNoShardsAreRefused) {
  const TemporaryFolder folder;
  for (const std::string& path : {folder.path("absent.h5"), folder.path(), folder.write("text.h5", sample_text(1, 100)),
                                  folder.write("empty.h5", "")})
    EXPECT_NE(refusal([&] { TokenShard shard(path); }).find(path), std::string::npos);
  const std::string other = folder.path("other.h5");
  {
    hdf5::Writer writer(other);
    writer.add("/tokens", {4}, DType::U16);
    writer.close();
  }
  EXPECT_NE(refusal([&] { TokenShard shard(other); }).find("no token shard"), std::string::npos);
}

TEST(Shards, WhatCannotBeIsRefusedWithARightHashToo) {
  const TemporaryFolder folder;
  const HostileShard good;
  EXPECT_EQ(tokens_of(TokenShard(good.write(folder))), (std::vector<int32_t>{1, 5, 6, 2}));
  const auto expect = [&](const std::string& part, const std::function<void(HostileShard&)>& change) {
    HostileShard shard;
    change(shard);
    const std::string path = shard.write(folder), message = refusal([&] { TokenShard{path}; });
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect("of rank 2: expected contiguous", [](auto& s) { s.shape = {2, 2}; });
  expect("does not fit its tokens", [](auto& s) { s.offsets = {4}; });
  expect("does not fit its tokens", [](auto& s) { s.offsets = {}; });
  expect("does not fit its tokens", [](auto& s) { s.offsets = {1, 4}; });
  expect("does not fit its tokens", [](auto& s) { s.offsets = {0, 5}; });
  expect("does not fit its tokens", [](auto& s) { s.offsets = {0, 3, 2, 4}; });
  expect("does not fit its tokens", [](auto& s) { s.extra_hashes = 1; });
  expect("vocabulary size 0", [](auto& s) { s.vocab_size = 0, s.end_of_document = -1; });
  expect("vocabulary size 2147483648", [](auto& s) { s.vocab_size = int64_t{1} << 31; });
  expect("end of document -2", [](auto& s) { s.end_of_document = -2; });
  expect("end of document 400", [](auto& s) { s.end_of_document = 400; });
  expect("-1 bytes of text", [](auto& s) { s.text_bytes = -1; });
}

TEST(Shards, TokensOutsideTheVocabularyAreRefusedWhereverTheyAreRead) {
  const TemporaryFolder folder;
  HostileShard shard;
  shard.tokens[2] = 400;
  const TokenShard read(shard.write(folder));
  std::vector<int32_t> tokens(4);
  read.read(0, 2, tokens.data());
  EXPECT_NE(refusal([&] { read.read(1, 3, tokens.data()); }).find("token 2 is 400: outside the vocabulary of 400"),
            std::string::npos);
  shard.tokens[2] = 399;
  EXPECT_EQ(tokens_of(TokenShard(shard.write(folder))), (std::vector<int32_t>{1, 5, 399, 2}));
}

TEST(Shards, AVocabularyOfAnotherSizeIsAnotherTokenizer) {
  const TemporaryFolder folder;
  HostileShard shard;
  TokenShard(shard.write(folder)).check_tokenizer(small_tokenizer());
  shard.vocab_size = 401;
  EXPECT_NE(refusal([&] {
              TokenShard(shard.write(folder)).check_tokenizer(small_tokenizer());
            }).find("401 pieces; the run's has"),
            std::string::npos);
}

TEST(Shards, NewerFormatsAndForeignTablesAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.path("foreign.h5");
  const auto write = [&](int64_t version, DType tokens, bool offsets) {
    hdf5::Writer writer(path);
    writer.add("/tokens", {4}, tokens);
    if (offsets) writer.add("/document_offsets", {2}, DType::U64);
    writer.add("/block_hashes", {1}, DType::U64);
    for (const char* name : {"vocab_size", "end_of_document", "text_bytes"}) writer.set_integer(name, 2);
    writer.set_integer("format_version", version);
    writer.set_text("source", "");
    writer.set_text("tokenizer_hash", std::string(16, '0'));
    writer.set_text("header_hash", std::string(16, '0'));
    writer.close();
    return refusal([&] { TokenShard shard(path); });
  };
  EXPECT_NE(write(2, DType::U16, true).find("version 2"), std::string::npos);
  EXPECT_NE(write(1, DType::F32, true).find("float32"), std::string::npos);
  EXPECT_NE(write(1, DType::U16, false).find("/document_offsets"), std::string::npos);
  EXPECT_NE(write(1, DType::U16, true).find("damaged"), std::string::npos);
}

}  // namespace
}  // namespace gta
