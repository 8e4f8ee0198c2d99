#include "core/control_groups.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/allocator.h"
#include "core/processors.h"

namespace gta {
namespace {

class ControlGroupsTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-groups-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(folder_ + "/" + name).parent_path());
    std::ofstream(folder_ + "/" + name) << text;
  }
  ControlGroups groups() const { return ControlGroups(folder_ + "/membership", folder_ + "/mount"); }

  std::string folder_;
};

TEST_F(ControlGroupsTest, NothingIsLimitedWhereThereAreNoGroups) {
  EXPECT_FALSE(groups().processors());
  EXPECT_FALSE(groups().memory_bytes());
}

// systemd and container runtimes set limits in groups around the process's own, which has none.
TEST_F(ControlGroupsTest, TheSmallestLimitOfAllGroupsAroundTheProcessHolds) {
  write("membership", "0::/job/step/task\n");
  write("mount/job/cpu.max", "400000 100000\n");
  write("mount/job/memory.max", "8000000000\n");
  write("mount/job/step/cpu.max", "150000 100000\n");
  write("mount/job/step/memory.max", "9000000000\n");
  write("mount/job/step/task/cpu.max", "max 100000\n");
  write("mount/job/step/task/memory.max", "max\n");
  write("mount/job/other/cpu.max", "10000 100000\n");
  write("mount/job/other/memory.max", "1000\n");
  EXPECT_EQ(groups().processors(), 1.5);
  EXPECT_EQ(groups().memory_bytes(), 8000000000);
}

TEST_F(ControlGroupsTest, Version1IsReadBesideVersion2) {
  write("membership", "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n");
  write("mount/cpu/docker/cpu.cfs_quota_us", "-1\n");
  write("mount/cpu/docker/cpu.cfs_period_us", "100000\n");
  write("mount/cpu/docker/x/cpu.cfs_quota_us", "250000\n");
  write("mount/cpu/docker/x/cpu.cfs_period_us", "100000\n");
  write("mount/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
  write("mount/memory/docker/memory.limit_in_bytes", "5000000000\n");
  EXPECT_EQ(groups().processors(), 2.5);
  EXPECT_EQ(groups().memory_bytes(), 5000000000);
}

// Inside of a container the path is often that of the host, and the container's own group is what is mounted.
TEST_F(ControlGroupsTest, TheMountedGroupCountsWhereThePathIsNotVisible) {
  write("membership", "3:cpu:/host/container\n0::/../../host\n");
  write("mount/cpu/cpu.cfs_quota_us", "100000\n");
  write("mount/cpu/cpu.cfs_period_us", "100000\n");
  write("mount/memory.max", "7000\n");
  EXPECT_EQ(groups().processors(), 1.0);
  EXPECT_EQ(groups().memory_bytes(), 7000);
}

// The numbers above are what memory and threads go by. In a process of its own, which sees other groups than the rest
// of the machine does.
TEST(ControlGroups, LimitTheMemoryAndTheProcessorsThatThisProcessCountsOn) {
  if (std::ifstream("/proc/self/cgroup").peek() == EOF) GTEST_SKIP() << "this process is in no control group";
  constexpr int kHolds = 0, kMemory = 1, kProcessors = 2, kNoMounts = 3;
  const auto child = [] {
    if (unshare(CLONE_NEWNS) != 0) {  // not root: of users of its own it is
      const std::string user = std::to_string(geteuid()), group = std::to_string(getegid());
      if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) _exit(kNoMounts);
      std::ofstream("/proc/self/setgroups") << "deny";
      std::ofstream("/proc/self/uid_map") << "0 " + user + " 1";
      std::ofstream("/proc/self/gid_map") << "0 " + group + " 1";
    }
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", "/sys/fs/cgroup", "tmpfs", 0, nullptr) != 0)
      _exit(kNoMounts);
    for (const char* controller : {"cpu", "memory"})
      std::filesystem::create_directory(std::string("/sys/fs/cgroup/") + controller);
    for (const auto& [file, text] : {std::pair{"memory.max", "1073741824\n"},
                                     {"memory/memory.limit_in_bytes", "1073741824\n"},
                                     {"cpu.max", "100000 100000\n"},
                                     {"cpu/cpu.cfs_quota_us", "100000\n"},
                                     {"cpu/cpu.cfs_period_us", "100000\n"}})
      std::ofstream(std::string("/sys/fs/cgroup/") + file) << text;
    if (memory_report(Device{}).limit != int64_t{1} << 30) _exit(kMemory);
    _exit(available_processors() == 1 ? kHolds : kProcessors);
  };
  int code = -1;
  const auto ended = [&](int status) {
    code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return code == kHolds || code == kNoMounts;
  };
  const std::string style = GTEST_FLAG_GET(death_test_style);
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // started anew: both numbers are read once in a process
  EXPECT_EXIT(child(), ended, "") << "exit code " << code << ": " << kMemory << " is of memory, " << kProcessors
                                  << " of processors";
  GTEST_FLAG_SET(death_test_style, style);
  if (code == kNoMounts) GTEST_SKIP() << "no mounts of its own are allowed here";
}

}  // namespace
}  // namespace gta
