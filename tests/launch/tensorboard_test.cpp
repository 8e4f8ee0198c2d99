#include "launch/tensorboard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/log.h"
#include "tests/launch/event_file_reader.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

using nlohmann::json;

class TensorBoardFiles : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-tensorboard-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  void TearDown() override { remove_tree(folder_); }
  void write(int64_t resumed, int64_t last) {
    TensorBoard board(folder_, resumed);
    for (int64_t step = resumed + 1; step <= last; ++step)
      board.add(StepRow{.step = step, .loss = 1.0 / static_cast<double>(step)});
  }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> found;
    for (const auto& [step, tags] : read_scalars(folder_)) found.push_back(step);
    return found;
  }

  std::string folder_;
};

std::vector<int64_t> up_to(int64_t last) {
  std::vector<int64_t> steps(last);
  for (int64_t i = 0; i < last; ++i) steps[i] = i + 1;
  return steps;
}

TEST_F(TensorBoardFiles, ARowsNumbersAppearUnderTheirTags) {
  {
    TensorBoard board(folder_, 0);
    board.add(StepRow{.step = 300, .tokens = 4096, .loss = 2.75, .memory_bytes = 1 << 30});
    board.add(ValidationRow{.step = 300, .tokens = 4096, .loss = 3.0, .bits_per_byte = 1.5});
    board.add(DiagnosisRow{300, {{"stream_rms/layers.0", 0.5}}});
  }
  ASSERT_EQ(event_files(folder_).size(), 1u);
  const std::vector<std::string> records = read_records(event_files(folder_)[0]);
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(parse_event(records[0]).file_version, "brain.Event:2");
  const ReadEvent start = parse_event(records[1]);
  EXPECT_EQ(start.session_status, 1);
  EXPECT_EQ(start.step, 1);
  EXPECT_NEAR(parse_event(records[2]).wall_time, static_cast<double>(time(nullptr)), 5);
  ReadScalars scalars = read_scalars(folder_);
  ASSERT_EQ(scalars.size(), 1u);
  EXPECT_TRUE(std::isnan(scalars[300]["train/grad_norm"]));
  std::erase_if(scalars[300], [](const auto& scalar) { return std::isnan(scalar.second); });
  const std::map<std::string, float> expected = {{"train/tokens", 4096},
                                                 {"train/loss", 2.75f},
                                                 {"memory/bytes", 1 << 30},
                                                 {"validation/tokens", 4096},
                                                 {"validation/loss", 3.0f},
                                                 {"validation/bits_per_byte", 1.5f},
                                                 {"train/stream_rms/layers.0", 0.5f}};
  EXPECT_EQ(scalars[300], expected);
}

TEST_F(TensorBoardFiles, ResumingCutsBackToItsStepInANewFile) {
  write(0, 10);
  write(6, 8);
  EXPECT_EQ(steps(), up_to(8));
  write(7, 12);
  EXPECT_EQ(steps(), up_to(12));
  const std::vector<std::string> files = event_files(folder_);
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(parse_event(read_records(files[2])[1]).step, 8) << "an open TensorBoard forgets from here";
}

TEST_F(TensorBoardFiles, FilesThatHaveNothingLeftGoAndTheirNumbersStayTaken) {
  write(0, 10);
  std::ofstream(folder_ + "/events.out.tfevents.of.another.program") << "not ours";
  write(0, 3);
  EXPECT_FALSE(exists(folder_ + "/events.out.tfevents.000001"));
  EXPECT_TRUE(exists(folder_ + "/events.out.tfevents.000002"));
  EXPECT_EQ(read_file(folder_ + "/events.out.tfevents.of.another.program"), "not ours");
  remove_tree(folder_ + "/events.out.tfevents.of.another.program");
  EXPECT_EQ(steps(), up_to(3));
}

TEST_F(TensorBoardFiles, ARecordThatIsTornAtAnyByteIsCut) {
  write(0, 3);
  const std::string path = event_files(folder_)[0], whole = read_file(path);
  const std::string last = read_records(path).back();
  const size_t begin = whole.size() - last.size() - 16;
  for (size_t size = begin; size <= whole.size(); ++size) {
    remove_tree(folder_);
    make_directories(folder_);
    std::ofstream(path, std::ios::binary) << whole.substr(0, size);
    write(3, 5);
    std::vector<int64_t> expected = up_to(5);
    if (size < whole.size()) expected.erase(expected.begin() + 2);
    ASSERT_EQ(steps(), expected) << "torn after " << size - begin << " of " << whole.size() - begin << " bytes";
    ASSERT_EQ(read_file(path).size(), size < whole.size() ? begin : size);
  }
}

TEST_F(TensorBoardFiles, DamageInTheMiddleCostsWhatFollowsAndStopsNothing) {
  write(0, 4);
  const std::string path = event_files(folder_)[0], whole = read_file(path);
  log::set_level(log::Level::Error);  // a warning each time
  for (size_t at = 0; at < whole.size(); ++at) {
    remove_tree(folder_);
    make_directories(folder_);
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
    std::ofstream(path, std::ios::binary) << bytes;
    write(4, 5);
    // Whatever is left is whole: read_records checks every sum.
    ASSERT_EQ(steps().back(), 5) << "byte " << at;
    ASSERT_LT(steps().size(), 5u) << "byte " << at;
  }
  log::set_level(log::Level::Info);
}

// Every row of metrics.jsonl, as the tags and float32 values that TensorBoard should have.
ReadScalars expected_scalars(const std::string& run) {
  ReadScalars scalars;
  std::ifstream file(run + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const json row = json::parse(line);
    const bool validation = row.at("kind") == "validation" || row.at("kind") == "breakdown";
    for (const auto& [key, value] : row.items()) {
      if (key == "step" || key == "kind" || key == "time") continue;
      std::string tag = (validation ? "validation/" : "train/") + key;
      if (key == "memory_bytes") tag = "memory/bytes";
      if (key.starts_with("validation_")) tag = "validation/" + key.substr(11);
      scalars[row.at("step").get<int64_t>()][tag] = static_cast<float>(value.get<double>());
    }
  }
  return scalars;
}

using TensorBoardOfARun = SmallRun;

TEST_F(TensorBoardOfARun, EqualsMetricsAlsoAfterGoingBackToAnEarlierCheckpoint) {
  const WatchedRun run = options("board");
  ASSERT_EQ(train(load({"train.evaluate_every_steps=2"}), run).step, 12);
  for (const char* step : {"9", "12"}) remove_tree(fmt::format("{}/checkpoints/step-{:0>8}", run.run_dir, step));
  ASSERT_EQ(train(load({"train.evaluate_every_steps=4"}), run).step, 12);
  const ReadScalars found = read_scalars(run.run_dir + "/tensorboard");
  EXPECT_EQ(found.size(), 12u);
  EXPECT_EQ(found, expected_scalars(run.run_dir));
  EXPECT_EQ(found.at(6).count("validation/loss"), 1u);
  EXPECT_EQ(found.at(10).count("validation/loss"), 0u) << "written by the first start, after the checkpoint";
  EXPECT_EQ(event_files(run.run_dir + "/tensorboard").size(), 2u);
}

// The real TensorBoard of the Python that GTA_TENSORBOARD_PYTHON names.
TEST_F(TensorBoardOfARun, TensorBoardReadsTheNumbersOfMetrics) {
  const char* named = std::getenv("GTA_TENSORBOARD_PYTHON");
  const std::string python = named ? named : "python3";
  if (std::system((python + " -c 'import tensorboard' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP()
        << python
        << " cannot import tensorboard: pip install tensorboard, and name its Python in GTA_TENSORBOARD_PYTHON";
  EXPECT_EQ(std::system((python + " " GTA_SOURCE_DIR "/tests/launch/tensorboard_interop.py " + kGta + " " + folder_ +
                         "/run.yaml " + folder_ + "/interop >" + folder_ + "/interop.txt 2>&1")
                            .c_str()),
            0)
      << read_file(folder_ + "/interop.txt");
}

}  // namespace
}  // namespace gta
