// Each of bugs.cu's bugs is seen: by the tool, by a sanitizer, or because the result is wrong. And the kernel without bugs passes in every order.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/io/file.h"
#include "core/sanitizer.h"

namespace gta {
namespace {

struct Outcome {
  int code;
  std::string text;
};

Outcome run(const std::string& bug, const std::string& options) {
  const std::string log = testing::TempDir() + "/host_cuda_" + bug + ".txt";
  const int status = std::system(("GTA_HOST_CUDA=" + options + " " HOST_CUDA_BUGS " " + bug + " >" + log + " 2>&1").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(log)};
}

TEST(HostCuda, TheKernelWithoutBugsIsRightInEveryOrder) {
  for (const char* options : {"order=forward", "order=reverse", "order=random,seed=1", "order=random,seed=2", "order=random,seed=3", "fill=7f",
                              "streams=eager", "guard=0"}) {
    const Outcome outcome = run("none", options);
    EXPECT_EQ(outcome.code, 0) << options << "\n" << outcome.text;
  }
}

struct Seen {
  const char* bug;
  const char* options;
  const char* text;  // a part of what is said; "wrong" where it is the result that shows the bug
};

TEST(HostCuda, EveryBugIsSeen) {
  const std::vector<Seen> bugs = {
      {"missing-barrier", "order=forward", kAddressSanitizer ? "AddressSanitizer" : "wrong"},
      {"missing-barrier", "order=reverse", kAddressSanitizer ? "AddressSanitizer" : "wrong"},
      {"missing-wait", "order=forward", kAddressSanitizer ? "AddressSanitizer" : "wrong"},
      {"no-barrier-before-reuse", "order=forward", kAddressSanitizer ? "AddressSanitizer" : "wrong"},
      {"reads-a-row-too-far", "order=forward", kAddressSanitizer ? "AddressSanitizer" : "wrong"},
      {"writes-beside-shared", "order=forward", kAddressSanitizer ? "AddressSanitizer" : "shared memory was written at offset"},
      {"wrong-mask", "order=forward", "wrong"},
      {"reads-what-nothing-wrote", "order=forward", "wrong"},
      {"reads-what-nothing-wrote", "fill=7f", "wrong"},
      {"incomplete-reduction", "order=forward", "wrong"},
      {"divergent-barrier", "order=forward", "a barrier in divergent code"},
      {"divergent-shuffle", "order=forward", "a warp is divergent"},
      {"misaligned-copy", "order=forward", "is misaligned"},
      {"copy-under-way-at-the-end", "order=forward", "a thread ends with cp.async copies under way"},
      {"writes-beside-global", "order=forward", kAddressSanitizer ? "" : "past the end of an allocation"},
      {"missing-event", "streams=deferred,seed=1", "wrong"},
      {"no-opt-in", "order=forward", "wrong"},
      {"default-stream", "order=forward", "work on the default stream"},
      {"host-touches-device", "order=forward", "device memory was touched by the host"},
      {"use-after-free", "order=forward", "device memory was touched after it was freed"},
      {"missing-syncwarp", "order=forward", kThreadSanitizer ? "data race" : "wrong"},
      {"missing-syncwarp", "order=reverse", kThreadSanitizer ? "data race" : "wrong"},
  };
  for (const Seen& seen : bugs) {
    const Outcome outcome = run(seen.bug, seen.options);
    EXPECT_NE(outcome.code, 0) << seen.bug << " " << seen.options << " is not seen";
    EXPECT_NE(outcome.text.find(seen.text), std::string::npos) << seen.bug << " " << seen.options << "\n" << outcome.text;
  }
}

// The result is right here by the order in which the tool does things.
TEST(HostCuda, ThreadSanitizerSeesWhatHappensToComeOutRight) {
  if (!kThreadSanitizer) GTEST_SKIP() << "needs ThreadSanitizer";
  for (const char* bug : {"two-blocks-add-up", "shuffle-taken-for-a-fence"}) {
    const Outcome outcome = run(bug, "streams=eager");
    EXPECT_NE(outcome.code, 0) << bug;
    EXPECT_NE(outcome.text.find("data race"), std::string::npos) << bug << "\n" << outcome.text;
  }
}

TEST(HostCuda, WrongOptionsAreRefused) {
  for (const char* options : {"order=sideways", "sede=3", "seed=", "fill=00"}) {
    const Outcome outcome = run("none", options);
    EXPECT_EQ(outcome.code, 99) << options;
    EXPECT_NE(outcome.text.find("GTA_HOST_CUDA: expected"), std::string::npos) << outcome.text;
  }
}

}  // namespace
}  // namespace gta
