#include "launch/environment.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/io/file.h"

namespace gta {
namespace {

// What the build runs each time before it compiles, and that it does.
class Commit : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-commit-XXXXXX";
    folder_ = mkdtemp(pattern);
    make_directories(folder_ + "/tree/part");
    if (std::system("cmake --version >/dev/null 2>&1 && git --version >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "no cmake or no git here";
  }
  void TearDown() override { remove_tree(folder_); }
  void git(const std::string& arguments) {
    const std::string command = "cd " + folder_ +
                                "/tree && git -c user.name=n -c user.email=e@example.org -c init.defaultBranch=b " +
                                arguments + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::string head() {
    EXPECT_EQ(std::system(("cd " + folder_ + "/tree && git rev-parse --short HEAD > ../head").c_str()), 0);
    const std::string text = read_file(folder_ + "/head");
    return text.substr(0, text.find('\n'));
  }
  std::string header() const { return folder_ + "/build/commit.h"; }
  std::string commit(const std::string& source = "/tree") {
    const std::string command =
        "cmake -DSOURCE=" + folder_ + source + " -DHEADER=" + header() + " -P " GTA_SOURCE_DIR "/cmake/Commit.cmake";
    EXPECT_EQ(std::system(command.c_str()), 0);
    return read_file(header());
  }
  static std::string line(const std::string& name) { return "#define GTA_COMMIT \"" + name + "\"\n"; }

  std::string folder_;
};

TEST_F(Commit, IsThatOfTheTreeThatIsBuiltAndSaysWhatItDoesNotHold) {
  EXPECT_EQ(commit(), line("unknown"));
  git("init");
  publish_text(folder_ + "/tree/a.txt", "a");
  git("add a.txt");
  git("commit -m first");
  const std::string first = head();
  EXPECT_EQ(commit(), line(first));
  struct stat before {
  }, after{};
  ASSERT_EQ(stat(header().c_str(), &before), 0);
  EXPECT_EQ(commit(), line(first));
  ASSERT_EQ(stat(header().c_str(), &after), 0);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec) << "nothing compiles again";
  publish_text(folder_ + "/tree/a.txt", "b");
  EXPECT_EQ(commit(), line(first + "-dirty"));
  git("commit -a -m second");
  EXPECT_NE(head(), first);
  EXPECT_EQ(commit(), line(head()));
  publish_text(folder_ + "/tree/part/new.txt", "");
  EXPECT_EQ(commit(), line(head() + "-dirty"));
  EXPECT_EQ(commit("/tree/part"), line("unknown")) << "a folder that lies in someone else's repository";
}

// The name that was there when the build was configured stood in all later ones.
TEST_F(Commit, IsThatOfEveryBuildThoughNothingIsConfiguredAgain) {
  if (std::system("ninja --version >/dev/null 2>&1 && cc --version >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "no ninja or no C compiler here";
  publish_text(folder_ + "/tree/CMakeLists.txt",
               "cmake_minimum_required(VERSION 3.25)\nproject(commit LANGUAGES C)\nadd_executable(says says.c)\n"
               "include(" GTA_SOURCE_DIR "/cmake/Commit.cmake)\ngta_commit_header(says)\n");
  publish_text(folder_ + "/tree/says.c",
               "#include <commit.h>\n#include <stdio.h>\nint main() { return puts(GTA_COMMIT) < 0; }\n");
  const auto run = [&](const std::string& command) {
    ASSERT_EQ(std::system(("cd " + folder_ + " && " + command).c_str()), 0) << command;
  };
  const auto built = [&] {
    run("cmake --build build >/dev/null && build/says > said");
    const std::string text = read_file(folder_ + "/said");
    return text.substr(0, text.find('\n'));
  };
  git("init");
  git("add .");
  git("commit -m first");
  run("cmake -G Ninja -S tree -B build >/dev/null");
  EXPECT_EQ(built(), head());
  git("commit --allow-empty -m second");
  EXPECT_EQ(built(), head());
  publish_text(folder_ + "/tree/new.txt", "");
  EXPECT_EQ(built(), head() + "-dirty");
}

}  // namespace
}  // namespace gta
