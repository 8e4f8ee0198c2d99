// Checkpoints of several owners, each with a file of its own: they load as any number of others, what is published is
// whole, and a load reads what it wants and nothing else.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "checkpoints/writer.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::Cuts, test::holds, test::Order, test::OwnedState, test::TemporaryFolder, test::training_state,
    test::write_by_owners, test::write_files;

constexpr uint64_t kSeed = 4;

std::string message_of(const std::function<void()>& f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "(nothing was refused)";
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "expected: " << part << "\ngot: " << text;
}

// float32 and bfloat16 parts; cuts in the middle of rows, a parameter of one element, owners with nothing.
TEST(Owners, WhatTheyWroteLoadsAsAnyNumberOfOthers) {
  const OwnedState owned(kSeed);
  for (const Cuts& wrote :
       {Cuts{0, 0.5, 1}, Cuts{0, 0.499, 1}, Cuts{0, 1, 1}, Cuts{0, 0, 1}, Cuts{0, 0.2, 0.2, 0.9, 1}})
    for (const Order order : {Order::FirstToLast, Order::LastToFirst}) {
      TemporaryFolder folder;
      const std::string path = write_by_owners(folder.path(), owned, 3, kSeed, wrote, order);
      const std::string what = fmt::format("written by {} owners", wrote.size() - 1);
      EXPECT_EQ(path, folder.path() + "/step-00000003");
      EXPECT_TRUE(holds(path, 3, kSeed)) << what;
      EXPECT_TRUE(holds(folder.path() + "/latest", 3, kSeed)) << what;
      for (const Cuts& reads : {Cuts{0, 1}, Cuts{0, 0.5, 1}, Cuts{0, 0.34, 0.67, 1}, Cuts{0, 0.1, 0.1, 1}}) {
        const OwnedState target(0);
        for (size_t rank = 0; rank + 1 < reads.size(); ++rank)
          Checkpoint::open(path).load(target.wanted_share(reads[rank], reads[rank + 1]));
        EXPECT_TRUE(target.bytes() == owned.bytes()) << what << ", loaded by " << reads.size() - 1;
      }
    }
}

TEST(Owners, AFileHoldsWhatItsOwnerHasAndTheFirstTheTokenizer) {
  TemporaryFolder folder;
  const OwnedState owned(kSeed);
  const std::string path = write_by_owners(folder.path(), owned, 3, kSeed, {0, 0.5, 0.5, 1});
  EXPECT_EQ(list_directory(path), (std::vector<std::string>{"manifest.json", "rank-0000-of-0003.h5",
                                                            "rank-0001-of-0003.h5", "rank-0002-of-0003.h5"}));
  const auto names = [&](const char* file) {
    std::vector<std::string> found;
    const hdf5::Reader reader(path + "/" + file);
    EXPECT_EQ(reader.integer("step"), 3);
    for (const auto& [name, dataset] : reader.datasets())
      if (name.starts_with("/master/") || !name.starts_with("/exp_")) found.push_back(name);
    return found;
  };
  EXPECT_EQ(names("rank-0000-of-0003.h5"), (std::vector<std::string>{"/master/model.embed_tokens.weight@0",
                                                                     "/master/model.norm.weight@0", "/tokenizer"}));
  EXPECT_EQ(names("rank-0001-of-0003.h5"), std::vector<std::string>{});
  EXPECT_EQ(names("rank-0002-of-0003.h5"), (std::vector<std::string>{"/master/model.embed_tokens.weight@264",
                                                                     "/master/model.norm.weight@3", "/master/scale"}));
  EXPECT_EQ(parse_manifest(read_file(path + "/manifest.json"), path).world_size, 3);
}

TEST(Owners, EveryEntryIsReadByItself) {
  TemporaryFolder folder;
  const OwnedState owned(kSeed);
  const Checkpoint checkpoint = Checkpoint::open(write_by_owners(folder.path(), owned, 3, kSeed, {0, 0.5, 1}));
  std::map<std::string, std::string> bytes;
  for (const Checkpoint::Entry& entry : checkpoint.entries()) {
    const std::string read = checkpoint.read(entry);
    std::string& whole = bytes[entry.part + " " + entry.parameter];
    whole.resize(std::max(whole.size(), static_cast<size_t>(entry.first) * size_of(entry.dtype) + read.size()));
    whole.replace(static_cast<size_t>(entry.first) * size_of(entry.dtype), read.size(), read);
  }
  const std::vector<StateRange> ranges = owned.ranges();
  for (size_t i = 0; i < ranges.size(); ++i)
    EXPECT_EQ(bytes[ranges[i].part + " " + ranges[i].parameter],
              std::string(owned.bytes()[i].begin(), owned.bytes()[i].end()));
  EXPECT_EQ(bytes["tokenizer "], training_state(owned, 3, kSeed).tokenizer);
}

// Bytes that this process has asked the system for.
int64_t bytes_read() {
  std::ifstream io("/proc/self/io");
  std::string name;
  int64_t bytes = -1;
  while (io >> name >> bytes)
    if (name == "rchar:") return bytes;
  return -1;
}

TEST(Owners, ALoadReadsWhatItWantsOnceAndNothingElse) {
  if (bytes_read() < 0) GTEST_SKIP() << "the system does not count what a process reads";
  TemporaryFolder folder;
  const OwnedState owned(kSeed);
  const Checkpoint checkpoint = Checkpoint::open(write_by_owners(folder.path(), owned, 3, kSeed, {0, 0.5, 1}));
  const auto read_for = [&](const std::vector<StateRange>& ranges) {
    const int64_t before = bytes_read();
    const int64_t own = bytes_read() - before;  // of asking
    checkpoint.load(ranges);
    return bytes_read() - before - 2 * own;
  };
  const auto sum = [&](const std::function<bool(const Checkpoint::Entry&)>& wanted) {
    int64_t bytes = 0;
    for (const Checkpoint::Entry& entry : checkpoint.entries())
      if (wanted(entry)) bytes += entry.bytes();
    return bytes;
  };
  const int64_t slack = 64;  // the counters themselves grow by some digits
  const OwnedState target(0);
  EXPECT_NEAR(read_for(target.ranges()), sum([](const auto& entry) { return entry.part != "tokenizer"; }), slack);
  // Cut otherwise, every byte is still read once.
  EXPECT_NEAR(read_for(target.ranges(5)), sum([](const auto& entry) { return entry.part != "tokenizer"; }), slack);
  std::vector<StateRange> master;
  for (const StateRange& range : target.ranges())
    if (range.part == "master") master.push_back(range);
  EXPECT_NEAR(read_for(master), sum([](const auto& entry) { return entry.part == "master"; }), slack);
  // Of the first parameter's second half, some elements: the entry is hashed, so all of it is read.
  for (StateRange& range : master) range.count = 0;
  EXPECT_NEAR(read_for(master), 0, slack);
  master[0].first = 300;
  master[0].count = 2;
  EXPECT_NEAR(read_for(master), 264 * 4, slack);
}

class Publish : public testing::Test {
 protected:
  Publish() {
    const OwnedState old(1);
    write_checkpoint(folder_.path(), training_state(old, 1, 1));
  }
  // What a file lacks, or is too much, is named; what was there before is there, and nothing else.
  void expect_refused(const std::string& named, const std::function<void(std::vector<RankFile>&)>& change,
                      const std::function<void(const std::string& folder)>& harm = {}) {
    const OwnedState owned(2);
    for (const int64_t step : {1, 2}) {
      const TrainingState state = training_state(owned, step, 2);
      const std::string folder = prepare(folder_.path(), step);
      std::vector<RankFile> files = write_files(folder, owned, step, 2, {0, 0.5, 1});
      change(files);
      if (harm) harm(folder);
      expect_part(message_of([&] { publish(folder, state.position, state.config_yaml, files); }, ErrorKind::Failed),
                  named);
      expect_old();
    }
  }
  void expect_old() {
    EXPECT_EQ(list_directory(folder_.path()), (std::vector<std::string>{"latest", "step-00000001"}));
    EXPECT_TRUE(holds(folder_.path() + "/latest", 1, 1));
  }
  static void erase(RankFile& file, const std::string& part, const std::string& parameter) {
    std::erase_if(file.entries,
                  [&](const ManifestEntry& entry) { return entry.part == part && entry.parameter == parameter; });
  }

  TemporaryFolder folder_;
};

TEST_F(Publish, WantsTheFileOfEveryRank) {
  const auto nothing = [](std::vector<RankFile>&) {};
  expect_refused("rank-0001-of-0002.h5 is missing", nothing,
                 [](const std::string& folder) { remove_tree(folder + "/rank-0001-of-0002.h5"); });
  for (const char* name : {"/rank-0000-of-0002.h5", "/rank-0001-of-0002.h5"})
    expect_refused("bytes, expected", nothing, [&](const std::string& folder) {
      std::filesystem::resize_file(folder + name, std::filesystem::file_size(folder + name) - 1);
    });
  expect_refused("expected rank-0000-of-0001.h5 of rank 0, it wrote rank-0000-of-0002.h5",
                 [](std::vector<RankFile>& files) { files.pop_back(); });
  expect_refused("expected rank-0000-of-0002.h5 of rank 0, it wrote rank-0001-of-0002.h5",
                 [](std::vector<RankFile>& files) { std::swap(files[0], files[1]); });
  expect_refused("expected rank-0001-of-0002.h5 of rank 1, it wrote rank-0000-of-0002.h5",
                 [](std::vector<RankFile>& files) { files[1] = files[0]; });
}

TEST_F(Publish, WantsEveryElementOfEveryPartOnce) {
  expect_refused("no rank wrote exp_avg model.norm.weight elements 3 to 6 of 7",
                 [](std::vector<RankFile>& files) { erase(files[1], "exp_avg", "model.norm.weight"); });
  expect_refused("no rank wrote exp_avg_sq scale element 0 of 1",
                 [](std::vector<RankFile>& files) { erase(files[1], "exp_avg_sq", "scale"); });
  expect_refused("no rank wrote one tokenizer (there are 0)",
                 [](std::vector<RankFile>& files) { erase(files[0], "tokenizer", ""); });
  expect_refused(
      "no rank wrote exp_avg model.embed_tokens.weight elements 264 to 527 of 528; exp_avg model.norm.weight",
      [](std::vector<RankFile>& files) { files[1].entries.clear(); });
  expect_refused("; and 1 more", [](std::vector<RankFile>& files) {
    files[1].entries.resize(1);
    files[1].entries[0].count = 0;
  });
  expect_refused("master model.norm.weight overlaps another range", [](std::vector<RankFile>& files) {
    for (ManifestEntry& entry : files[1].entries)
      if (entry.part == "master" && entry.parameter == "model.norm.weight") entry.first = 2;
  });
  expect_refused("master model.norm.weight has two shapes or dtypes", [](std::vector<RankFile>& files) {
    for (ManifestEntry& entry : files[1].entries)
      if (entry.part == "master" && entry.parameter == "model.norm.weight") entry.shape = {7, 1};
  });
  expect_refused("lies outside its file", [](std::vector<RankFile>& files) { files[0].entries[0].offset += 1 << 20; });
}

TEST_F(Publish, GivenUpLeavesWhatWasThere) {
  const OwnedState owned(2);
  for (const int64_t step : {1, 2})
    for (const Cuts& cuts : {Cuts{0, 0.5, 1}, Cuts{0, 1}}) {
      const std::string folder = prepare(folder_.path(), step);
      EXPECT_TRUE(list_directory(folder).empty());
      write_files(folder, owned, step, 2, cuts);
      EXPECT_EQ(list_checkpoints(folder_.path()), std::vector<std::string>{"step-00000001"});
      EXPECT_TRUE(holds(folder_.path() + "/latest", 1, 1)) << "while the files are there and nothing is published";
      give_up(folder);
      give_up(folder);  // nothing more to remove
      expect_old();
    }
}

// A rank that is gone leaves a file behind, whole or in part: rank 0 gives up, or is started again and prepares anew.
TEST_F(Publish, WhatADeadRankLeftIsInNobodysWay) {
  const OwnedState owned(2);
  std::string folder = prepare(folder_.path(), 2);
  write_files(folder, owned, 2, 2, {0, 0.2, 0.4, 1});
  std::filesystem::resize_file(folder + "/rank-0001-of-0003.h5", 100);
  EXPECT_EQ(find_newest_good(folder_.path()), folder_.path() + "/step-00000001");
  EXPECT_TRUE(holds(write_by_owners(folder_.path(), owned, 2, 2, {0, 0.5, 1}), 2, 2));
  EXPECT_EQ(list_directory(folder_.path() + "/step-00000002"),
            (std::vector<std::string>{"manifest.json", "rank-0000-of-0002.h5", "rank-0001-of-0002.h5"}));
}

TEST_F(Publish, AnErrorInOneOwnersFileIsAFailureOfTheSave) {
  const OwnedState owned(2);
  const std::string folder = prepare(folder_.path(), 2);
  std::filesystem::create_directories(folder + "/rank-0001-of-0002.h5");  // nothing can be written there
  EXPECT_NE(message_of(
                [&] {
                  write_files(folder, owned, 2, 2, {0, 0.5, 1});
                },
                ErrorKind::Failed)
                .find("rank-0001-of-0002.h5"),
            std::string::npos);
  give_up(folder);
  expect_old();
  expect_part(message_of([&] { write_files(folder, owned, 2, 2, {0, 1}); }, ErrorKind::Failed), folder);
  expect_old();
}

class WhatARankSays : public testing::Test {
 protected:
  WhatARankSays() {
    const OwnedState owned(kSeed);
    const std::string folder = prepare(folder_.path(), 2);
    file_ = write_files(folder, owned, 2, kSeed, {0, 0.5, 1})[0];
  }
  std::string changed(const std::string& from, const std::string& to) const {
    const std::string text = to_json(file_);
    const size_t line = text.find('\n');
    std::string body = text.substr(line + 1, text.size() - line - 3);
    const size_t at = body.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    body.replace(at, from.size(), to);
    return "{\"rank_file_xxh3\": \"" + hash_text(hash_bytes(body)) + "\", \"rank_file\":\n" + body + "}\n";
  }

  TemporaryFolder folder_;
  RankFile file_;
};

TEST_F(WhatARankSays, ComesBackAsItWas) {
  const RankFile again = parse_rank_file(to_json(file_), "rank 0");
  EXPECT_EQ(again.file.name, file_.file.name);
  EXPECT_EQ(again.file.bytes, file_.file.bytes);
  EXPECT_EQ(again.file.hash, file_.file.hash);
  ASSERT_EQ(again.entries.size(), file_.entries.size());
  EXPECT_EQ(to_json(again), to_json(file_));
  const RankFile nothing{{"rank-0001-of-0002.h5", 800, 7}, {}};
  EXPECT_EQ(to_json(parse_rank_file(to_json(nothing), "rank 1")), to_json(nothing));
}

TEST_F(WhatARankSays, IsRefusedWhereAByteIsNotWhatItWas) {
  const std::string text = to_json(file_);
  for (size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] ^= static_cast<char>(1 << at % 8);
    expect_part(message_of([&] { parse_rank_file(damaged, "rank 3"); }, ErrorKind::BadInput), "[rank 3] is damaged");
  }
  for (size_t bytes = 0; bytes < text.size(); bytes += 7)
    EXPECT_THROW(parse_rank_file(text.substr(0, bytes), "rank 3"), Error);
  const OwnedState owned(1);
  const std::string path = write_checkpoint(folder_.path(), training_state(owned, 9, 1));
  expect_part(message_of([&] { parse_rank_file(read_file(path + "/manifest.json"), "rank 3"); }, ErrorKind::BadInput),
              "[rank 3] is damaged: it is not what a rank says of its file");
}

TEST_F(WhatARankSays, IsCheckedBeforeItIsBelieved) {
  const auto expect = [&](const std::string& from, const std::string& to, const std::string& named) {
    expect_part(message_of([&] { parse_rank_file(changed(from, to), "rank 3"); }, ErrorKind::BadInput), named);
  };
  EXPECT_NO_THROW(parse_rank_file(changed("", ""), "rank 3"));
  expect("\"format_version\": 3", "\"format_version\": 2", "[rank 3] has format version 2, this build reads 3 to 3");
  expect("\"name\": \"rank", "\"name\": \"../rank", "leaves the folder");
  expect("\"name\": \"rank-0000", "\"name\": \"rank-0007", "lies outside its file");
  expect("\"file\": \"rank-0000", "\"file\": \"rank-0001", "lies outside its file");
  expect("\"bytes\"", "\"byte\"", "it lacks 'bytes'");
  expect("\"ranges\"", "\"range\"", "it lacks 'ranges'");
  expect("\"first\": 0", "\"first\": 9223372036854775807", "has more elements than its shape");
  expect("\"first\": 0", "\"first\": -1", "negative");
  expect("\"offset\": ", "\"offset\": 99999", "lies outside its file");
  expect("\"shape\": [\n    33,", "\"shape\": [\n    4611686018427387904,", "impossible shape");
  expect("\"dtype\": \"float32\"", "\"dtype\": \"float64\"", "overlaps another range");
  expect("{", std::string(100000, '['), "damaged");
}

}  // namespace
}  // namespace gta
