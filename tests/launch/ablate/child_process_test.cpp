// What is sent to a process that has just been started arrives, whatever the parent does with such signals.
#include "launch/ablate/child_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "core/io/file.h"

namespace gta {
namespace {

int status_of(ChildProcess& child) {
  std::optional<int> code;
  while (!(code = child.ended())) usleep(1000);
  return *code;
}

TEST(ChildProcess, ASignalRightAfterTheStartIsNotTakenByAHandlerOfTheParent) {
  const std::string output = testing::TempDir() + "/gta-child-" + std::to_string(getpid());
  struct sigaction handles {
  }, before{};
  handles.sa_handler = [](int) {};
  sigaction(SIGTERM, &handles, &before);
  for (int i = 0; i < 20; ++i) {
    ChildProcess child({"--gtest_list_tests"}, output);  // this program again
    child.signal(SIGTERM);
    EXPECT_EQ(status_of(child), 128 + SIGTERM);
  }
  sigaction(SIGTERM, &before, nullptr);
  remove_tree(output);
}

}  // namespace
}  // namespace gta
