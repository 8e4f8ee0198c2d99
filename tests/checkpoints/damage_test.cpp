#include <gtest/gtest.h>

#include "checkpoints/writer.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

void flip(const std::string& path, int64_t at, int bit) {
  File file(path, File::Mode::ReadWrite);
  unsigned char byte = 0;
  file.read_at(&byte, 1, at);
  byte ^= static_cast<unsigned char>(1u << bit);
  file.write_at(&byte, 1, at);
  file.close();
}

// Every file below, by name, with its bytes: what a reader must not change.
std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && !entry.is_symlink()) files[entry.path().string()] = read_file(entry.path().string());
  return files;
}

class CheckpointDamage : public testing::Test {
 protected:
  CheckpointDamage() {
    const OwnedState older(1), newer(2);
    older_ = write_checkpoint(folder_.path(), training_state(older, 10, 1));
    newer_ = write_checkpoint(folder_.path(), training_state(newer, 20, 2));
    manifest_ = newer_ + "/manifest.json";
    data_ = newer_ + "/rank-0000-of-0001.h5";
  }

  // The damaged one is refused by name, nothing on disk changes, and the older one takes over.
  void expect_refused(const std::string& what, const std::string& named = "") {
    const auto before = contents(folder_.path());
    expect_error(what, named, [&] { Checkpoint::open(newer_).verify(); });
    EXPECT_EQ(find_newest_good(folder_.path()), older_) << what;
    EXPECT_EQ(contents(folder_.path()), before) << what;
  }
  void expect_error(const std::string& what, const std::string& named, const std::function<void()>& read) {
    try {
      read();
      ADD_FAILURE() << what << ": taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << what;
      EXPECT_NE(std::string(error.what()).find(newer_), std::string::npos) << what << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << what << ": " << error.what();
    }
  }
  // A load of these ranges is refused as far as they need damaged bytes, and has the right bits otherwise.
  void expect_load(const std::string& what, const Checkpoint::Entry& damaged,
                   const std::function<bool(const StateRange&)>& wanted) {
    const OwnedState expected(2), target(0);
    std::vector<StateRange> ranges;
    bool needs_it = false;
    for (const StateRange& range : target.ranges())
      if (wanted(range)) {
        ranges.push_back(range);
        needs_it |= range.part == damaged.part && range.parameter == damaged.parameter;
      }
    const Checkpoint checkpoint = Checkpoint::open(newer_);
    if (needs_it) {
      expect_error(what, damaged.part + " " + damaged.parameter, [&] { checkpoint.load(ranges); });
      return;
    }
    checkpoint.load(ranges);
    for (size_t i = 0; i < target.bytes().size(); ++i)
      if (wanted(target.ranges()[i])) {
        EXPECT_EQ(target.bytes()[i], expected.bytes()[i]) << what;
      }
  }

  TemporaryFolder folder_;
  std::string older_, newer_, manifest_, data_;
};

TEST_F(CheckpointDamage, everyFlippedByteOfTheManifestIsRefused) {
  const int64_t size = File(manifest_, File::Mode::Read).size();
  testing::internal::CaptureStderr();
  for (int64_t at = 0; at < size; ++at) {
    flip(manifest_, at, static_cast<int>(at % 8));
    EXPECT_THROW(Checkpoint::open(newer_), Error) << "byte " << at;
    if (at % 97 == 0) expect_refused("manifest byte " + std::to_string(at), "manifest.json");
    flip(manifest_, at, static_cast<int>(at % 8));
  }
  EXPECT_NE(testing::internal::GetCapturedStderr().find("skips a damaged checkpoint: [" + manifest_),
            std::string::npos);
  EXPECT_EQ(find_newest_good(folder_.path()), newer_);
}

TEST_F(CheckpointDamage, flippedBitsOfHeadersAndDataAreRefused) {
  const int64_t size = File(data_, File::Mode::Read).size();
  testing::internal::CaptureStderr();
  const Checkpoint whole = Checkpoint::open(newer_);
  int64_t step = 1;
  for (int64_t at = 0; at < size; at += step) {
    step = at < 200 ? 1 : 53;  // the superblock byte by byte, everything after it sampled
    flip(data_, at, static_cast<int>(at % 8));
    expect_refused("byte " + std::to_string(at));
    // Its owner, if it is a range: a load needs no headers.
    Checkpoint::Entry damaged;
    for (const Checkpoint::Entry& entry : whole.entries())
      if (entry.offset <= at && at < entry.offset + entry.bytes()) damaged = entry;
    expect_load("byte " + std::to_string(at), damaged, [](const StateRange&) { return true; });
    flip(data_, at, static_cast<int>(at % 8));
  }
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(holds(newer_, 20, 2));
}

TEST_F(CheckpointDamage, theDamagedRangeIsNamed) {
  const Checkpoint checkpoint = Checkpoint::open(newer_);
  for (const Checkpoint::Entry& entry : checkpoint.entries())
    for (int64_t at : {entry.offset, entry.offset + entry.bytes() - 1}) {
      flip(data_, at, 3);
      const std::string what = "a flip in " + entry.part + " " + entry.parameter;
      expect_refused(what, entry.part + " " + entry.parameter);
      // What does not need it loads: other parts, other parameters.
      for (const char* part : {"master", "exp_avg", "exp_avg_sq"})
        expect_load(what, entry, [&](const StateRange& range) { return range.part == part; });
      flip(data_, at, 3);
    }
}

TEST_F(CheckpointDamage, aDamagedTokenizerIsNotHandedOut) {
  const Checkpoint checkpoint = Checkpoint::open(newer_);
  for (const Checkpoint::Entry& entry : checkpoint.entries()) {
    if (entry.part != "tokenizer") continue;
    flip(data_, entry.offset + 2, 1);
    try {
      checkpoint.tokenizer();
      ADD_FAILURE() << "the damaged tokenizer was handed out";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(newer_ + "] is damaged: tokenizer"), std::string::npos) << error.what();
    }
  }
}

TEST_F(CheckpointDamage, theDamagedHeaderIsNamedByItsFile) {
  flip(data_, 30, 0);
  expect_refused("a flip in the superblock", "rank-0000-of-0001.h5 does not have its hash");
}

TEST_F(CheckpointDamage, truncatedAndLongerFilesAreRefused) {
  testing::internal::CaptureStderr();
  for (const std::string& path : {manifest_, data_}) {
    const std::string whole = read_file(path);
    for (size_t bytes = 0; bytes < whole.size(); bytes += whole.size() / 23 + 1) {
      std::filesystem::resize_file(path, bytes);
      expect_refused(path + " of " + std::to_string(bytes) + " bytes", std::filesystem::path(path).filename());
      publish_text(path, whole);
    }
    std::filesystem::resize_file(path, whole.size() + 1);
    expect_refused(path + " one byte longer", std::filesystem::path(path).filename());
    publish_text(path, whole);
  }
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(holds(newer_, 20, 2));
}

TEST_F(CheckpointDamage, missingAndStrangeFilesAreRefused) {
  const std::string whole = read_file(data_);
  std::filesystem::remove(data_);
  expect_refused("no data", "rank-0000-of-0001.h5 is missing");
  std::filesystem::create_directory(data_);
  expect_refused("a folder for data", "rank-0000-of-0001.h5 is not a regular file");
  std::filesystem::remove(data_);
  ASSERT_EQ(::system(("mkfifo " + data_).c_str()), 0);
  expect_refused("a pipe for data", "rank-0000-of-0001.h5 is not a regular file");
  std::filesystem::remove(manifest_);
  expect_refused("no manifest", "it has no manifest.json");
}

TEST_F(CheckpointDamage, nothingGoodIsNothing) {
  flip(data_, 30, 0);
  flip(older_ + "/manifest.json", 30, 0);
  EXPECT_EQ(find_newest_good(folder_.path()), std::nullopt);
  EXPECT_EQ(find_newest_good(folder_.path() + "/absent"), std::nullopt);
}

// A training beside saves new ones and prunes those that were listed.
TEST_F(CheckpointDamage, whatIsPrunedWhileItIsLookedForIsMadeUpForByWhatIsNew) {
  const std::string newest = list_checkpoints(folder_.path()).back();
  int looked = 0;
  CheckpointUse use;
  use.load = [&](const Checkpoint& checkpoint) {
    if (++looked <= 3) {
      // Gone, as its reader finds out in the middle, and the next is there.
      const int64_t step = step_of(list_checkpoints(folder_.path()).back());
      for (const std::string& name : list_checkpoints(folder_.path())) remove_tree(folder_.path() + "/" + name);
      write_checkpoint(folder_.path(), training_state(OwnedState(1), step + 1, 1));
    }
    checkpoint.verify();
  };
  testing::internal::CaptureStderr();
  const std::optional<Checkpoint> found = use_newest_good(folder_.path(), use);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->position().step, step_of(newest) + 3);
}

// The same by other names: `latest` is followed to where it leads, and what is gone is not said to be damaged.
TEST_F(CheckpointDamage, whatIsPrunedUnderItsOwnNameIsFollowedOrSaidToBeGone) {
  const std::string latest = folder_.path() + "/latest";
  int looked = 0, pruned = 2;
  CheckpointUse use;
  use.load = [&](const Checkpoint& checkpoint) {
    const int64_t step = step_of(list_checkpoints(folder_.path()).back());
    if (++looked <= pruned) {
      write_checkpoint(folder_.path(), training_state(OwnedState(1), step + 1, 1));
      prune_checkpoints(folder_.path(), 1, 0);
    }
    checkpoint.verify();
  };
  const Checkpoint found = use_checkpoint(latest + "/", use);
  EXPECT_EQ(looked, 3);
  EXPECT_EQ(found.position().step, 22);
  EXPECT_EQ(found.path(), folder_.path() + "/" + checkpoint_name(22)) << "the one that latest led to, by its name";

  pruned = 100;
  looked = 0;
  for (const std::string& name : {folder_.path() + "/" + checkpoint_name(22), latest}) {
    try {
      use_checkpoint(name, use);
      ADD_FAILURE() << name << " is gone";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      EXPECT_NE(std::string(error.what()).find("[" + name + "] was removed while it was read"), std::string::npos)
          << error.what();
    }
  }
  EXPECT_EQ(looked, 1 + 10) << "latest is not followed for ever";

  // What is there and damaged is said to be.
  looked = pruned = 0;
  const std::string whole = folder_.path() + "/" + list_checkpoints(folder_.path()).back();
  flip(whole + "/rank-0000-of-0001.h5", File(whole + "/rank-0000-of-0001.h5", File::Mode::Read).size() - 1, 0);
  try {
    use_checkpoint(latest, use);
    ADD_FAILURE() << "damage was taken";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("was removed"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(whole), std::string::npos) << error.what();
  }
}

// As builds before orders had names wrote them.
TEST_F(CheckpointDamage, anOlderManifestKnowsTheOrderOfItsSamples) {
  const std::string original = read_file(manifest_);
  const size_t line = original.find('\n');
  std::string body = original.substr(line + 1, original.size() - line - 3);
  const auto replace = [&](const std::string& from, const std::string& to) {
    ASSERT_NE(body.find(from), std::string::npos) << from;
    body.replace(body.find(from), from.size(), to);
  };
  replace("\"format_version\": 3", "\"format_version\": 2");
  replace(",\n  \"order\": \"shuffle\"", "");
  publish_text(manifest_,
               "{\"manifest_xxh3\": \"" + hash_text(hash_bytes(body)) + "\", \"manifest\":\n" + body + "}\n");
  EXPECT_EQ(Checkpoint::open(newer_).position().order, SampleOrder::Network);
}

// A manifest that carries a correct hash of wrong content: only its own checks stand between it and memory.
TEST_F(CheckpointDamage, hostileManifestsAreRefused) {
  const std::string original = read_file(manifest_);
  const size_t line = original.find('\n');
  const std::string body = original.substr(line + 1, original.size() - line - 3);
  const auto expect = [&](const std::string& from, const std::string& to, const std::string& named) {
    std::string changed = body;
    const size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    publish_text(manifest_,
                 "{\"manifest_xxh3\": \"" + hash_text(hash_bytes(changed)) + "\", \"manifest\":\n" + changed + "}\n");
    expect_refused(from + " -> " + to, named);
  };
  testing::internal::CaptureStderr();
  expect("\"format_version\": 3", "\"format_version\": 4", "format version 4, this build reads 1 to 3");
  expect("\"format_version\": 3", "\"format_version\": 0", "format version 0, this build reads 1 to 3");
  expect("\"order\": \"shuffle\"", "\"order\": \"shuffel\"", "no order of samples is called 'shuffel'");
  expect("\"sound\": true", "\"sound\": 1", "is damaged: a field holds something else than it should");
  expect("\"step\": 20", "\"step\": -20", "negative");
  expect("\"step\": 20", "\"step\": 20.5", "not an integer");
  expect("\"step\": 20", "\"step\": 18446744073709551615", "negative");
  expect("\"tokens\"", "\"token\"", "is damaged: it lacks 'tokens'");
  expect("\"name\": \"rank", "\"name\": \"../rank", "leaves the folder");
  expect("\"shape\": [\n    33,", "\"shape\": [\n    32,", "has more elements than its shape");
  expect("\"shape\": [\n    33,", "\"shape\": [\n    4611686018427387904,", "impossible shape");
  expect("\"shape\": [\n    33,", "\"shape\": [\n    -33,", "negative");
  expect("\"shape\": [\n    33,", "\"shape\": [\n    1e300,", "not an integer");
  expect("\"shape\": [\n    33,", "\"shape\": [\n    [],", "not an integer");
  expect("\"dtype\": \"float32\"", "\"dtype\": \"float33\"", "float33");
  expect("\"dtype\": \"float32\"", "\"dtype\": \"float64\"", "overlaps another range");
  expect("\"first\": 0", "\"first\": 9223372036854775807", "has more elements than its shape");
  expect("\"offset\": ", "\"offset\": 99999", "lies outside its file");
  expect("\"offset\": ", "\"offset\": 922337203685477", "lies outside its file");
  expect("\"parameter\": \"scale\"", "\"parameter\": \"model.norm.weight\"", "two shapes or dtypes");
  expect("\"files\": [", "\"files\": [ {\"name\": \"manifest.json\", \"bytes\": 1},", "xxh3");
  expect("\"xxh3\": \"", "\"xxh3\": \"0", "16 hexadecimal digits");
  expect("\"data_hash\": \"f", "\"data_hash\": \"g", "16 hexadecimal digits");
  expect("\"offset\": 2", "\"offset\": 9223372036854775807, \"was\": 2", "lies outside its file");
  expect("33,\n    16\n   ],\n   \"dtype\": \"float32\",\n   \"first\": 0,\n   \"count\": 528",
         "4611686018427387904 ], \"dtype\": \"float32\", \"first\": 0, \"count\": 4611686018427387904",
         "lies outside its file");
  // The norm's entry as a second one of "scale": with another dtype, and with the same element.
  const std::string norm =
      "\"parameter\": \"model.norm.weight\",\n   \"shape\": [\n    7\n   ],\n   \"dtype\": \"float32\",\n   \"first\": "
      "0,\n   \"count\": 7";
  expect(norm, R"("parameter": "scale", "shape": [], "dtype": "int32", "first": 0, "count": 1)",
         "two shapes or dtypes");
  expect(norm, R"("parameter": "scale", "shape": [], "dtype": "float32", "first": 0, "count": 1)",
         "overlaps another range");
  expect("\"name\": \"rank-0000-of-0001.h5\"", "\"name\": \"\"", "leaves the folder");
  expect("\"name\": \"rank", "\"name\": \".rank", "leaves the folder");
  expect("\"name\": \"rank", "\"name\": \"deeper/rank", "leaves the folder");
  const size_t files = body.find("\"files\": [") + 10, files_end = body.find("\n ],", files);
  const std::string listed = body.substr(files, files_end - files);
  expect(listed, listed + "," + listed, "named twice");
  expect("{", std::string(100000, '['), "damaged");
  publish_text(manifest_, original);
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(holds(newer_, 20, 2));
}

}  // namespace
}  // namespace gta
