#include "launch/run_folder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

class RunFolders : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-run-folder-XXXXXX";
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

TEST_F(RunFolders, HaveOneOwnerAtATime) {
  const std::string path = folder_ + "/run";
  {
    const RunFolder first(path);
    EXPECT_NE(message_of([&] { RunFolder second(path); }).find("run] is in use by process " + std::to_string(getpid()) + ": "),
              std::string::npos);
  }
  EXPECT_NO_THROW(RunFolder(path + "")) << "the lock goes with its owner";
}

TEST_F(RunFolders, WhatCannotBeOpenedIsNamed) {
  make_directories(folder_ + "/run/run.lock");
  EXPECT_NE(message_of([&] { RunFolder run(folder_ + "/run"); }).find("run.lock] cannot open: Is a directory"), std::string::npos);
  make_directories(folder_ + "/other/metrics.jsonl");
  RunFolder other(folder_ + "/other");
  EXPECT_NE(message_of([&] { other.open_metrics(0); }).find("metrics.jsonl] cannot open: Is a directory"), std::string::npos);
}

TEST_F(RunFolders, MetricsAreCutBackToWhatACheckpointKnows) {
  const std::string path = folder_ + "/run/metrics.jsonl";
  int64_t known = 0;
  {
    RunFolder run(folder_ + "/run");
    run.open_metrics(0);
    run.add_metrics("{1}");
    known = run.metrics_bytes();
    EXPECT_EQ(known, 4);
    run.add_metrics("{2}");
  }
  EXPECT_EQ(read_file(path), "{1}\n{2}\n") << "nothing is lost at the end";
  {
    RunFolder run(folder_ + "/run");
    run.open_metrics(known);
    run.add_metrics("{3}");
    EXPECT_EQ(run.metrics_bytes(), 8);
  }
  EXPECT_EQ(read_file(path), "{1}\n{3}\n");
}

// A file that may not grow beyond a limit stands for a disk without room.
TEST_F(RunFolders, RowsOfMetricsWaitUntilThereIsRoom) {
  RunFolder run(folder_ + "/run");
  run.open_metrics(0);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const auto allow = [&](rlim_t bytes) {
    rlimit limit = before;
    limit.rlim_cur = bytes;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
  // What is said goes through a pipe: the limit is for every file.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int error_stream = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  allow(10);
  run.add_metrics("{first}");   // 8 bytes
  run.add_metrics("{second}");  // 9
  const int64_t of_whole_rows = run.metrics_bytes();
  run.add_metrics("{third}");
  const int64_t again = run.metrics_bytes();
  setrlimit(RLIMIT_FSIZE, &before);
  dup2(error_stream, STDERR_FILENO);
  std::string said(4096, '\0');
  said.resize(static_cast<size_t>(std::max<ssize_t>(0, read(ends[0], said.data(), said.size()))));
  for (int descriptor : {error_stream, ends[0], ends[1]}) close(descriptor);
  EXPECT_EQ(of_whole_rows, 8);
  EXPECT_EQ(again, 8);
  EXPECT_EQ(read_file(folder_ + "/run/metrics.jsonl"), "{first}\n{s");
  EXPECT_NE(said.find("metrics.jsonl cannot be written: File too large; training goes on"), std::string::npos) << said;
  EXPECT_EQ(said.find("cannot be written"), said.rfind("cannot be written")) << "twice: " << said;
  EXPECT_EQ(run.metrics_bytes(), 8 + 9 + 8);
  EXPECT_EQ(read_file(folder_ + "/run/metrics.jsonl"), "{first}\n{second}\n{third}\n");
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace gta
