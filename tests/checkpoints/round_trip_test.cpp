#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "checkpoints/writer.h"
#include "core/io/file.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

std::string message_of(const std::function<void()>& f, ErrorKind kind = ErrorKind::BadInput) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "(nothing was refused)";
}

TEST(CheckpointRoundTrip, everyBitComesBack) {
  TemporaryFolder folder;
  const std::string directory = folder.path() + "/run/checkpoints";
  const OwnedState owned(5);
  EXPECT_EQ(write_checkpoint(directory, training_state(owned, 1000, 5)), directory + "/step-00001000");
  EXPECT_TRUE(holds(directory + "/step-00001000", 1000, 5));
  EXPECT_FALSE(holds(directory + "/step-00001000", 1000, 6));
  EXPECT_EQ(std::filesystem::read_symlink(directory + "/latest"), "step-00001000");
  EXPECT_TRUE(holds(directory + "/latest", 1000, 5));
  EXPECT_EQ(list_directory(directory), (std::vector<std::string>{"latest", "step-00001000"}));
  EXPECT_EQ(list_directory(directory + "/step-00001000"),
            (std::vector<std::string>{"manifest.json", "rank-0000-of-0001.h5"}));
}

TEST(CheckpointRoundTrip, anyPartitionLoadsFromAnyPartition) {
  TemporaryFolder folder;
  const OwnedState owned(7);
  for (int64_t saved : {1, 5, 64, 1000})
    for (int64_t loaded : {1, 3, 17, 1000}) {
      const std::string path = write_checkpoint(folder.path(), training_state(owned, 3, 7, saved));
      const OwnedState target(0);
      Checkpoint::open(path).load(target.ranges(loaded));
      EXPECT_EQ(target.bytes(), owned.bytes()) << "saved by " << saved << ", loaded by " << loaded;
    }
}

TEST(CheckpointRoundTrip, onePartLoadsWithoutTheOthers) {
  TemporaryFolder folder;
  const OwnedState owned(8), target(0);
  const std::string path = write_checkpoint(folder.path(), training_state(owned, 3, 8));
  std::vector<StateRange> master;
  for (const StateRange& range : target.ranges())
    if (range.part == "master") master.push_back(range);
  Checkpoint::open(path).load(master);
  for (size_t i = 0; i < target.bytes().size(); ++i) {
    if (i < master.size())
      EXPECT_EQ(target.bytes()[i], owned.bytes()[i]);
    else
      EXPECT_EQ(target.bytes()[i], std::vector<unsigned char>(owned.bytes()[i].size()));
  }
}

TEST(CheckpointRoundTrip, anotherModelIsRefusedByName) {
  TemporaryFolder folder;
  const OwnedState owned(9), target(0);
  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), training_state(owned, 3, 9)));
  const auto refusal = [&](const std::function<void(std::vector<StateRange>&)>& change) {
    std::vector<StateRange> ranges = target.ranges();
    change(ranges);
    return message_of([&] { checkpoint.load(ranges); });
  };
  const auto expect = [](const std::string& message, const char* part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect(refusal([](auto& r) { r.erase(r.begin() + 1); }), "master model.norm.weight is not in this model");
  expect(refusal([](auto& r) { r.push_back(r[1]), r.back().parameter = "model.new.weight"; }),
         "master model.new.weight is missing");
  expect(refusal([](auto& r) {
           r[1].shape = {1, 7};
         }),
         "master model.norm.weight is float32 (7), the model wants float32 (1, 7)");
  expect(refusal([](auto& r) { r[1].dtype = DType::I32; }), "the model wants int32 (7)");
  for (const auto& bytes : target.bytes()) EXPECT_EQ(bytes, std::vector<unsigned char>(bytes.size()));
}

TEST(CheckpointRoundTrip, aMissingPieceOfAParameterIsNotSaved) {
  TemporaryFolder folder;
  const OwnedState owned(9);
  TrainingState state = training_state(owned, 3, 9, 100);
  state.ranges.erase(state.ranges.begin() + 1);
  EXPECT_NE(message_of([&] { write_checkpoint(folder.path(), state); }, ErrorKind::Failed)
                .find("no rank wrote master model.embed_tokens.weight elements 100 to 199 of 528"),
            std::string::npos);
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{});
}

// A manifest that says so itself: what is not there is no reason to refuse a load of what is.
TEST(CheckpointRoundTrip, aMissingPieceOfAParameterIsNamedWhenItIsWanted) {
  TemporaryFolder folder;
  const OwnedState owned(9), target(0);
  const std::string path = write_checkpoint(folder.path(), training_state(owned, 3, 9, 100)),
                    manifest_path = path + "/manifest.json";
  Manifest manifest = parse_manifest(read_file(manifest_path), manifest_path);
  for (size_t gone : {3, 1, 0}) manifest.entries.erase(manifest.entries.begin() + static_cast<int64_t>(gone));
  publish_text(manifest_path, to_json(manifest));
  const Checkpoint checkpoint = Checkpoint::open(path);
  const std::string message = message_of([&] { checkpoint.load(target.ranges()); });
  EXPECT_NE(message.find("does not fit this model: master model.embed_tokens.weight lacks elements 0 to 199 of 528; "
                         "master model.embed_tokens.weight lacks elements 300 to 399 of 528"),
            std::string::npos)
      << message;
  for (const auto& bytes : target.bytes()) EXPECT_EQ(bytes, std::vector<unsigned char>(bytes.size()));
  // What is there loads.
  std::vector<StateRange> some = target.ranges();
  std::erase_if(some, [](const StateRange& range) { return range.part != "master"; });
  const auto want = [&](int64_t first, int64_t count) {
    some[0].first = first;
    some[0].count = count;
    some[0].data = const_cast<unsigned char*>(target.bytes()[0].data()) + 4 * first;
  };
  want(200, 100);
  checkpoint.load(some);
  EXPECT_TRUE(
      std::equal(target.bytes()[0].begin() + 800, target.bytes()[0].begin() + 1200, owned.bytes()[0].begin() + 800));
  want(299, 2);
  EXPECT_NE(
      message_of([&] { checkpoint.load(some); }).find("master model.embed_tokens.weight lacks element 300 of 528"),
      std::string::npos);
}

TEST(CheckpointRoundTrip, theSameStepIsReplaced) {
  TemporaryFolder folder;
  const OwnedState first(1), second(2);
  write_checkpoint(folder.path(), training_state(first, 4, 1));
  const std::string path = write_checkpoint(folder.path(), training_state(second, 4, 2));
  EXPECT_TRUE(holds(path, 4, 2));
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{"latest", "step-00000004"}));
}

TEST(CheckpointRoundTrip, rangesOutsideTheirParameterAreNotSaved) {
  TemporaryFolder folder;
  const OwnedState owned(1);
  for (const auto& [first, count] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 33 * 16}, {-1, 1}, {0, -1}, {INT64_MAX, 1}, {1, INT64_MAX}}) {
    TrainingState state = training_state(owned, 4, 1);
    state.ranges[0].first = first;
    state.ranges[0].count = count;
    EXPECT_NE(message_of([&] { write_checkpoint(folder.path(), state); }, ErrorKind::Internal).find("cannot save"),
              std::string::npos)
        << first << " " << count;
    EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{});
  }
}

// A writer that cannot exchange two names in one call was killed between its two renames.
TEST(CheckpointRoundTrip, theOneThatWasToBeReplacedStandsForItsStepUntilItIs) {
  TemporaryFolder folder;
  const OwnedState owned(1);
  write_checkpoint(folder.path(), training_state(owned, 4, 1));
  const std::string path = folder.path() + "/step-00000004";
  std::filesystem::rename(path, path + ".replaced");
  EXPECT_EQ(list_checkpoints(folder.path()), std::vector<std::string>{"step-00000004.replaced"});
  EXPECT_EQ(find_newest_good(folder.path()), path + ".replaced");
  EXPECT_TRUE(holds(path + ".replaced", 4, 1));
  std::filesystem::copy(path + ".replaced", path);
  EXPECT_EQ(list_checkpoints(folder.path()), std::vector<std::string>{"step-00000004"});
}

TEST(CheckpointResolve, acceptsARunItsFolderAndAStep) {
  TemporaryFolder folder;
  const std::string run = folder.path() + "/run";
  const OwnedState owned(1);
  write_checkpoint(run + "/checkpoints", training_state(owned, 90, 1));
  write_checkpoint(run + "/checkpoints", training_state(owned, 100, 1));
  const std::string newest = run + "/checkpoints/step-00000100";
  for (const std::string& given : {run, run + "/", run + "/checkpoints", newest})
    EXPECT_EQ(resolve_checkpoint(given), newest) << given;
  EXPECT_EQ(resolve_checkpoint(run + "/checkpoints/step-00000090/"), run + "/checkpoints/step-00000090");
  EXPECT_NE(message_of([&] {
              resolve_checkpoint(folder.path() + "/absent");
            }).find("does not exist: expected a run's folder"),
            std::string::npos);
  EXPECT_NE(message_of([&] { resolve_checkpoint(folder.path()); }).find("holds no checkpoint: expected a run's folder"),
            std::string::npos);
  std::ofstream(newest + "/manifest.json") << "x";
  EXPECT_EQ(resolve_checkpoint(run), run + "/checkpoints/step-00000090");
  std::ofstream(run + "/checkpoints/step-00000090/manifest.json") << "x";
  EXPECT_NE(message_of([&] { resolve_checkpoint(run); }).find("has no checkpoint that is whole"), std::string::npos);
}

TEST(CheckpointRoundTrip, h5pyReadsTheParameters) {
  const std::string python = test::python_with_h5py();
  if (python.empty()) GTEST_SKIP() << "python3-h5py is not installed";
  TemporaryFolder folder;
  const OwnedState owned(11);
  const std::string path = write_checkpoint(folder.path(), training_state(owned, 3, 11));
  const std::string script = folder.path() + "/read.py", out = folder.path() + "/bytes";
  std::ofstream(script) << R"(
import h5py, sys
f = h5py.File(sys.argv[1], "r")
out = open(sys.argv[2], "wb")
shapes = {"model.embed_tokens.weight": (33, 16), "model.norm.weight": (7,), "scale": ()}
for part in ("master", "exp_avg", "exp_avg_sq"):
    assert sorted(f[part]) == sorted(shapes), list(f[part])
    for name in sorted(shapes):
        d = f[part][name]
        assert d.shape == shapes[name], d.shape
        assert d.dtype == ("<u2" if part == "exp_avg" else "<f4"), d.dtype
        if part == "exp_avg":
            assert d.attrs["dtype"] == b"bfloat16", d.attrs["dtype"]
        out.write(d[()].tobytes())
out.write(f["tokenizer"][()].tobytes())
)";
  ASSERT_EQ(std::system((python + " " + script + " " + path + "/rank-0000-of-0001.h5 " + out).c_str()), 0);
  std::string expected;
  for (const auto& bytes : owned.bytes()) expected.append(bytes.begin(), bytes.end());
  EXPECT_EQ(read_file(out), expected + training_state(owned, 3, 11).tokenizer);
}

}  // namespace
}  // namespace gta
