#include "launch/run_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "launch/append_file.h"
#include "tests/launch/event_file_reader.h"

namespace gta {
namespace {

class RunFolderFiles : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-folder-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  void TearDown() override { remove_tree(folder_); }
  std::string message_of(const std::function<void()>& f) {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was refused";
  }
  std::string folder_;
};

// No file of this process may grow beyond `bytes`: what a full disk does, with a part written.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(RunFolderFiles, HaveOneOwnerAtATime) {
  const std::string path = folder_ + "/run";
  {
    const RunFolder first(path);
    EXPECT_NE(message_of([&] {
                RunFolder second(path);
              }).find("run] is in use by process " + std::to_string(getpid()) + ": "),
              std::string::npos);
  }
  EXPECT_NO_THROW(RunFolder(path + "")) << "the lock goes with its owner";
}

TEST_F(RunFolderFiles, WhatCannotBeOpenedIsNamed) {
  make_directories(folder_ + "/run/run.lock");
  EXPECT_NE(message_of([&] { RunFolder run(folder_ + "/run"); }).find("run.lock] is not a regular file, but a folder"),
            std::string::npos);
}

// Whoever opens a pipe waits for its other end.
TEST_F(RunFolderFiles, WhatHasTheNameOfAFileAndIsNoneIsRefusedBeforeItIsOpened) {
  make_directories(folder_ + "/tensorboard");
  for (const char* name : {"run.lock", "config.yaml", "environment.json", "log.txt", "metrics.jsonl",
                           "last_checkpoint.json", "tensorboard/events.out.tfevents.000001"}) {
    const std::string path = folder_ + "/" + name;
    remove_tree(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0644), 0);
    EXPECT_EQ(message_of([&] {
                RunFolder run(folder_);
                run.begin(0);
              }),
              "[" + path + "] is not a regular file, but a pipe");
    remove_tree(path);
  }
}

// Root may write wherever there is a folder; but not in this one.
TEST_F(RunFolderFiles, AFolderThatCannotBeWrittenToIsRefused) {
  for (const char* name : {"checkpoints", "samples"}) {
    const std::string path = folder_ + "/" + name;
    RunFolder run(folder_);
    ASSERT_NO_THROW(run.make_folders());
    remove_tree(path);
    ASSERT_EQ(::symlink("/proc", path.c_str()), 0);
    try {
      run.make_folders();
      FAIL() << "expected an error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find("[" + path + "] cannot be written: "), std::string::npos);
    }
    remove_tree(path);
  }
}

TEST_F(RunFolderFiles, MetricsAreCutBackToTheCheckpointAndGoOn) {
  {
    RunFolder folder(folder_);
    folder.begin(0);
    folder.add_metrics(StepRow{.step = 1, .loss = 2.5});
    folder.add_metrics(StepRow{.step = 2, .loss = 2.0625});
  }
  const auto losses = [&] {
    std::vector<std::pair<int64_t, double>> all;
    for (const MetricsRow& row : read_metrics(folder_ + "/metrics.jsonl"))
      all.emplace_back(step_of(row), std::get<StepRow>(row).loss);
    return all;
  };
  using Losses = std::vector<std::pair<int64_t, double>>;
  EXPECT_EQ(losses(), (Losses{{1, 2.5}, {2, 2.0625}}));
  {
    RunFolder folder(folder_);
    folder.begin(1);
    folder.add_metrics(StepRow{.step = 2, .loss = 1.5});
  }
  EXPECT_EQ(losses(), (Losses{{1, 2.5}, {2, 1.5}}));
  const ReadScalars scalars = read_scalars(folder_ + "/tensorboard");
  ASSERT_EQ(scalars.size(), 2u);
  EXPECT_EQ(scalars.at(1).at("train/loss"), 2.5f);
  EXPECT_EQ(scalars.at(2).at("train/loss"), 1.5f);
}

// Of a step there may be several rows, one of them written after its checkpoint; and a kill may tear the last one
// anywhere.
TEST_F(RunFolderFiles, AllRowsUpToTheStepStayWhateverComesAfterThem) {
  const std::string metrics = folder_ + "/metrics.jsonl",
                    three = "{\"loss\":3.0,\"step\":3}\n{\"step\":3,\"validation_loss\":3.5}\n";
  const std::string rows =
      "{\"loss\":2.5,\"step\":2}\n" + three + "{\"loss\":4.0,\"step\":4}\n{\"step\":4,\"validation_loss\":3.5}\n";
  const auto cut = [&](const std::string& text, int64_t step) {
    publish_text(metrics, text);
    {
      RunFolder folder(folder_);
      folder.begin(step);
    }
    return read_file(metrics);
  };
  EXPECT_EQ(cut(rows, 3), "{\"loss\":2.5,\"step\":2}\n" + three);
  EXPECT_EQ(cut(rows, 2), "{\"loss\":2.5,\"step\":2}\n");
  EXPECT_EQ(cut(rows, 1), "");
  EXPECT_EQ(cut(rows, 9), rows);
  for (size_t size = 0; size <= rows.size(); ++size) {
    const std::string torn = rows.substr(0, size);
    EXPECT_EQ(cut(torn, 9), torn.substr(0, torn.rfind('\n') + 1)) << size;
  }
  EXPECT_EQ(cut(three + std::string(100000, '\0'), 9), three);
  std::string many;
  for (int step = 1; step <= 20000; ++step) many += "{\"loss\":3.0,\"step\":" + std::to_string(step) + "}\n";
  EXPECT_EQ(cut(many, 12345), many.substr(0, many.find("{\"loss\":3.0,\"step\":12346}")));

  publish_text(metrics, rows);
  EXPECT_FALSE(has_validation(metrics, 2));
  EXPECT_TRUE(has_validation(metrics, 3));
  EXPECT_TRUE(has_validation(metrics, 4));
  EXPECT_FALSE(has_validation(metrics, 5));
  EXPECT_FALSE(has_validation(folder_ + "/absent", 4));
}

TEST_F(RunFolderFiles, WhatAFullDiskRefusedIsWrittenOnceThereIsRoom) {
  const std::string row(1000, 'x');
  std::string expected;
  {
    AppendFile file(folder_ + "/log", 0);
    for (int i = 0; i < 10; ++i) file.add(row);
    EXPECT_EQ(file.flush(), 10000);
    {
      const FullDisk disk(10500);
      for (int i = 0; i < 40; ++i) file.add(std::string(1000, static_cast<char>('a' + i % 26)));
      EXPECT_EQ(file.flush(), 10000);
      EXPECT_EQ(read_file(folder_ + "/log").size(), 10500u) << "a part was written";
    }
    file.add(row);
  }
  for (int i = 0; i < 10; ++i) expected += row;
  for (int i = 0; i < 40; ++i) expected += std::string(1000, static_cast<char>('a' + i % 26));
  EXPECT_EQ(read_file(folder_ + "/log"), expected + row);
}

TEST_F(RunFolderFiles, AFullDiskStopsNoRun) {
  RunFolder folder(folder_);
  folder.begin(0);
  const FullDisk disk(100);
  for (int64_t step = 1; step <= 1000; ++step) folder.add_metrics(StepRow{.step = step, .loss = 2.5});
  folder.flush_metrics();
  EXPECT_LE(File(folder_ + "/metrics.jsonl", File::Mode::Read).size(), 100);
}

TEST_F(RunFolderFiles, AFileThatCannotBeMadeIsAnError) { EXPECT_THROW(AppendFile(folder_ + "/missing/log", 0), Error); }

}  // namespace
}  // namespace gta
