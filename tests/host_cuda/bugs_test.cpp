// Each of bugs.cu's bugs is seen: by the tool, by a sanitizer, or because the result is wrong. And the kernel without
// bugs passes in every order.
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
  const int status =
      std::system(("GTA_HOST_CUDA=" + options + " " HOST_CUDA_BUGS " " + bug + " >" + log + " 2>&1").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(log)};
}

TEST(HostCuda, TheKernelWithoutBugsIsRightInEveryOrder) {
  for (const char* options : {"order=forward", "order=reverse", "order=random,seed=1", "order=random,seed=2",
                              "order=random,seed=3", "fill=7f", "streams=eager", "guard=0"}) {
    const Outcome outcome = run("none", options);
    EXPECT_EQ(outcome.code, 0) << options << "\n" << outcome.text;
  }
}

struct Seen {
  const char* bug;
  const char* options;
  std::string text;  // a part of what is said; "wrong" where it is the result that shows the bug
};

// What AddressSanitizer says where it is there, where other builds say `otherwise`.
std::string by_address(const char* otherwise) { return kAddressSanitizer ? "AddressSanitizer" : otherwise; }

TEST(HostCuda, EveryBugIsSeen) {
  const std::vector<Seen> bugs = {
      {"missing-barrier", "order=forward", by_address("wrong")},
      {"missing-barrier", "order=reverse", by_address("wrong")},
      {"missing-wait", "order=forward", by_address("wrong")},
      {"no-barrier-before-reuse", "order=forward", by_address("wrong")},
      {"reads-a-row-too-far", "order=forward", by_address("wrong")},
      {"writes-beside-shared", "order=forward", by_address("shared memory was written at offset")},
      {"wrong-mask", "order=forward", "wrong"},
      {"reads-what-nothing-wrote", "order=forward", "wrong"},
      {"reads-what-nothing-wrote", "fill=7f", "wrong"},
      {"hidden-by-a-maximum", "fill=7f", "wrong"},
      {"incomplete-reduction", "order=forward", "wrong"},
      {"divergent-barrier", "order=forward", "a barrier in divergent code"},
      {"exit-before-a-barrier", "order=forward", "24 of 64 threads have ended and the others wait"},
      {"divergent-shuffle", "order=forward", "a warp is divergent"},
      {"lane-outside-its-mask", "order=forward", "is not in its own mask 0000ffff"},
      {"misaligned-copy", "order=forward", "is misaligned"},
      {"copy-beside-shared", "order=forward", "is outside every array of this block's shared memory"},
      {"copy-under-way-at-the-end", "order=forward", "a thread ends with a copy under way"},
      {"writes-beside-global", "order=forward", "past the end of an allocation"},
      {"one-element-beside-global", "order=forward",
       by_address("device memory was written at byte 124 of an allocation of 124 bytes")},
      {"no-opt-in", "order=forward", "wrong"},
      {"shared-of-another-device", "shared=101376", "wrong"},
      {"default-stream", "order=forward", "work on the default stream"},
      {"host-touches-device", "order=forward", "device memory was touched by the host"},
      {"use-after-free", "order=forward", "device memory was touched after it was freed"},
      {"pinned-memory-used-again", "streams=deferred", "wrong"},
      {"result-not-waited-for", "streams=deferred", "wrong"},
      {"missing-syncwarp", "order=forward", "wrong"},
      {"missing-syncwarp", "order=reverse", "wrong"},
  };
  for (const Seen& seen : bugs) {
    const Outcome outcome = run(seen.bug, seen.options);
    EXPECT_NE(outcome.code, 0) << seen.bug << " " << seen.options << " is not seen";
    EXPECT_NE(outcome.text.find(seen.text), std::string::npos) << seen.bug << " " << seen.options << "\n"
                                                               << outcome.text;
  }
}

TEST(HostCuda, ADeviceGivesTheSharedMemoryThatItHas) {
  EXPECT_EQ(run("shared-of-another-device", "order=forward").code, 0);
  EXPECT_EQ(run("shared-of-another-device", "shared=102400").code, 0);
  EXPECT_NE(run("shared-of-another-device", "shared=102399").code, 0);
}

// Which of two streams goes first is a matter of the seed.
TEST(HostCuda, WorkOfTwoStreamsWithoutAnEventIsSeenWithSomeOfEightSeeds) {
  for (const auto& [bug, text] :
       {std::pair{"missing-event", "wrong"}, {"used-before-it-is-allocated", "before its stream has allocated it"}}) {
    int seen = 0;
    for (int seed = 1; seed <= 8; ++seed) {
      const Outcome outcome = run(bug, "streams=deferred,seed=" + std::to_string(seed));
      seen += outcome.code != 0 && outcome.text.find(text) != std::string::npos;
    }
    EXPECT_GE(seen, 2) << bug;
  }
}

TEST(HostCuda, ErrorsSayWhereAndWithWhichOptions) {
  const Outcome outcome = run("divergent-shuffle", "order=reverse,seed=7,streams=eager,guard=0");
  for (const char* part : {"bugs.cu:", "in kernel (masked_sums<bug>), block (0, 0, 0), thread (",
                           "GTA_HOST_CUDA=order=reverse,seed=7,streams=eager,fill=ff,guard=0"})
    EXPECT_NE(outcome.text.find(part), std::string::npos) << part << "\n" << outcome.text;
}

TEST(HostCuda, UndefinedBehaviourSanitizerSeesMisalignedVectors) {
  if (!kAddressSanitizer)
    GTEST_SKIP() << "needs AddressSanitizer and UndefinedBehaviorSanitizer, which the tree builds with together";
  const Outcome outcome = run("misaligned-vector", "order=forward");
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.text.find("misaligned address"), std::string::npos) << outcome.text;
}

// Whether or not the result is right, and with eager streams nearly all of these results are.
TEST(HostCuda, ThreadSanitizerSeesEveryRace) {
  if (!kThreadSanitizer) GTEST_SKIP() << "needs ThreadSanitizer";
  const Outcome correct = run("none", "streams=eager");
  EXPECT_EQ(correct.code, 0) << correct.text;
  for (const char* bug : {"missing-barrier", "no-barrier-before-reuse", "missing-syncwarp", "shuffle-taken-for-a-fence",
                          "two-blocks-add-up", "missing-event", "pinned-memory-used-again", "result-not-waited-for"}) {
    const Outcome outcome = run(bug, "streams=eager");
    EXPECT_NE(outcome.code, 0) << bug;
    EXPECT_NE(outcome.text.find("data race"), std::string::npos) << bug << "\n" << outcome.text;
  }
}

TEST(HostCuda, WrongOptionsAreRefused) {
  for (const char* options : {"order=sideways", "sede=3", "seed=", "fill=00", "shared=49151", "shared=99k"}) {
    const Outcome outcome = run("none", options);
    EXPECT_EQ(outcome.code, 99) << options;
    EXPECT_NE(outcome.text.find("GTA_HOST_CUDA: expected"), std::string::npos) << outcome.text;
  }
}

}  // namespace
}  // namespace gta
