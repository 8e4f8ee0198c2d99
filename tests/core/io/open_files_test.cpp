#include "core/io/open_files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "core/error.h"

namespace gta {
namespace {

namespace fs = std::filesystem;

class OpenFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-files-XXXXXX";
    folder_ = mkdtemp(pattern);
    for (int i = 0; i < 6; ++i) publish_text(path(i), std::string(1, static_cast<char>('a' + i)));
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(int i) const { return folder_ + "/" + std::to_string(i); }
  static char letter(const File& file) {
    char c = 0;
    file.read_at(&c, 1, 0);
    return c;
  }

  std::string folder_;
};

int descriptors() {
  return static_cast<int>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

TEST_F(OpenFilesTest, KeepsThoseThatWereReadLast) {
  const int before = descriptors();
  OpenFiles files(2);
  for (int round = 0; round < 3; ++round)
    for (int i = 0; i < 6; ++i) EXPECT_EQ(letter(*files.open(path(i))), 'a' + i);
  EXPECT_EQ(descriptors(), before + 2);
  const std::shared_ptr<const File> four = files.open(path(4));
  files.open(path(0));
  EXPECT_EQ(files.open(path(4)), four) << "5 was read before it";
  for (int i = 0; i < 4; ++i) files.open(path(i));
  EXPECT_EQ(letter(*four), 'e') << "what is held stays open";
  EXPECT_NE(files.open(path(4)), four);
}

TEST_F(OpenFilesTest, AFileThatIsGoneIsAnErrorAndLeavesTheOthersReadable) {
  OpenFiles files(2);
  files.open(path(0));
  fs::remove(path(1));
  for (int attempt = 0; attempt < 5; ++attempt) EXPECT_THROW(files.open(path(1)), Error);
  EXPECT_EQ(letter(*files.open(path(0))), 'a');
}

// In a process of its own.
TEST(DescriptorLimit, IsRaisedToWhatTheProcessMayHave) {
  const auto child = [] {
    const rlimit low{64, 128};
    if (setrlimit(RLIMIT_NOFILE, &low) != 0) _exit(2);
    raise_descriptor_limit();
    rlimit now{};
    getrlimit(RLIMIT_NOFILE, &now);
    _exit(now.rlim_cur == 128 && now.rlim_max == 128 ? 0 : 3);
  };
  EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace gta
