#include "launch/append_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace gta {
namespace {

class AppendFiles : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-append-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  void TearDown() override { remove_tree(folder_); }
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

TEST_F(AppendFiles, AreCutBackAndGoOn) {
  const std::string path = folder_ + "/log";
  {
    AppendFile file(path, 0);
    file.add("one ");
    EXPECT_EQ(file.flush(), 4);
    file.add("two two ");
  }
  EXPECT_EQ(read_file(path), "one two two ") << "what is buffered is written at the end";
  {
    AppendFile file(path, 4);
    file.add("2 ");
    EXPECT_EQ(file.flush(), 6);
  }
  EXPECT_EQ(read_file(path), "one 2 ");
  AppendFile file(path, 100);
  EXPECT_EQ(file.flush(), 6) << "nothing to cut";
}

TEST_F(AppendFiles, WhatAFullDiskRefusedIsWrittenOnceThereIsRoom) {
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

TEST_F(AppendFiles, AFileThatCannotBeMadeIsAnError) { EXPECT_THROW(AppendFile(folder_ + "/missing/log", 0), Error); }

}  // namespace
}  // namespace gta
