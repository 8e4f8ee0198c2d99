#include "launch/run_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
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
    EXPECT_NE(message_of([&] { RunFolder second(path); }).find("run] is in use by process " + std::to_string(getpid()) + ": "),
              std::string::npos);
  }
  EXPECT_NO_THROW(RunFolder(path + "")) << "the lock goes with its owner";
}

TEST_F(RunFolderFiles, WhatCannotBeOpenedIsNamed) {
  make_directories(folder_ + "/run/run.lock");
  EXPECT_NE(message_of([&] { RunFolder run(folder_ + "/run"); }).find("run.lock] cannot open: Is a directory"), std::string::npos);
  make_directories(folder_ + "/other/metrics.jsonl");
  RunFolder other(folder_ + "/other");
  EXPECT_NE(message_of([&] { other.open_metrics(0, 0); }).find("metrics.jsonl] cannot"), std::string::npos);
}

TEST_F(RunFolderFiles, MetricsAreCutBackToTheCheckpointAndGoOn) {
  int64_t bytes = 0;
  {
    RunFolder folder(folder_);
    folder.open_metrics(0, 0);
    folder.add_metrics({{"step", 1}, {"loss", 2.5}});
    bytes = folder.metrics_bytes();
    folder.add_metrics({{"step", 2}, {"loss", 2.0625}});
  }
  EXPECT_EQ(bytes, static_cast<int64_t>(std::string("{\"loss\":2.5,\"step\":1}\n").size()));
  EXPECT_EQ(read_file(folder_ + "/metrics.jsonl"), "{\"loss\":2.5,\"step\":1}\n{\"loss\":2.0625,\"step\":2}\n");
  {
    RunFolder folder(folder_);
    folder.open_metrics(bytes, 1);
    folder.add_metrics({{"step", 2}, {"loss", 1.5}});
  }
  EXPECT_EQ(read_file(folder_ + "/metrics.jsonl"), "{\"loss\":2.5,\"step\":1}\n{\"loss\":1.5,\"step\":2}\n");
  EXPECT_EQ(read_scalars(folder_ + "/tensorboard"), (ReadScalars{{1, {{"train/loss", 2.5f}}}, {2, {{"train/loss", 1.5f}}}}));
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
  folder.open_metrics(0, 0);
  const FullDisk disk(100);
  for (int64_t step = 1; step <= 1000; ++step) folder.add_metrics({{"step", step}, {"loss", 2.5}});
  EXPECT_EQ(folder.metrics_bytes(), 0);
}

TEST_F(RunFolderFiles, AFileThatCannotBeMadeIsAnError) { EXPECT_THROW(AppendFile(folder_ + "/missing/log", 0), Error); }

}  // namespace
}  // namespace gta
