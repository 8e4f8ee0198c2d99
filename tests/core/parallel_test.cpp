#include "core/parallel.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/processors.h"
#include "core/sanitizer.h"

namespace gta {
namespace {

class Parallel : public testing::Test {
 protected:
  void TearDown() override { set_threads(available_processors()); }
};

TEST_F(Parallel, EveryItemIsDoneOnceByAnyNumberOfThreads) {
  for (int count : {1, 2, 3, 8, 2}) {
    set_threads(count);
    EXPECT_EQ(threads(), count);
    for (int64_t items : {0, 1, 2, 7, 1000}) {
      std::vector<int> done(items);
      parallel_for(items, [&](int64_t i) { ++done[i]; });
      EXPECT_EQ(done, std::vector<int>(items, 1)) << count;
    }
  }
}

// Short loops one after the other: workers come late, find a loop closed, or the next one open.
TEST_F(Parallel, ManyShortLoopsSeeEachOthersWork) {
  set_threads(4);
  std::vector<int64_t> sums(16);
  for (int64_t loop = 0; loop < 20000; ++loop) {
    const int64_t items = 1 + loop % 16;
    parallel_for(items, [&](int64_t i) { sums[i] += loop; });
  }
  int64_t expected = 0;
  for (int64_t loop = 0; loop < 20000; ++loop) expected += (1 + loop % 16) * loop;
  EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), int64_t{0}), expected);
}

TEST_F(Parallel, RangesCoverEverythingOnceInPiecesOfTheGrain) {
  for (int64_t count : {0, 1, 6, 7, 8, 701})
    for (int64_t grain : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{10000}}) {
      std::vector<int> done(count);
      parallel_ranges(count, grain, [&](int64_t first, int64_t last) {
        EXPECT_LE(last - first, std::max<int64_t>(grain, 1));
        for (int64_t i = first; i < last; ++i) ++done[i];
      });
      EXPECT_EQ(done, std::vector<int>(count, 1)) << grain;
    }
}

TEST_F(Parallel, AnExceptionInAnItemComesOutInTheCallerAndTheNextLoopRuns) {
  set_threads(3);
  for (int repeat = 0; repeat < 100; ++repeat)
    for (int64_t items : {1, 100}) {
      EXPECT_THROW(parallel_for(items,
                                [&](int64_t i) {
                                  if (i == items / 2) throw std::runtime_error("in the middle");
                                }),
                   std::runtime_error);
      std::atomic<int> done = 0;
      parallel_for(10, [&](int64_t) { ++done; });
      EXPECT_EQ(done, 10);
    }
}

TEST_F(Parallel, ALoopInsideOfAnItemRunsInThatItemsThread) {
  set_threads(4);
  std::atomic<int> done = 0, elsewhere = 0;
  parallel_for(8, [&](int64_t) {
    const auto here = std::this_thread::get_id();
    parallel_for(100, [&](int64_t) {
      ++done;
      if (std::this_thread::get_id() != here) ++elsewhere;
    });
    EXPECT_THROW(parallel_for(2, [](int64_t) { throw std::runtime_error("inside"); }), std::runtime_error);
  });
  EXPECT_EQ(done, 800);
  EXPECT_EQ(elsewhere, 0);
}

// As an asynchronous save does beside a step.
TEST_F(Parallel, SeveralThreadsMayHaveLoopsAtOnce) {
  set_threads(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum = 0;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int loop = 0; loop < 500; ++loop) parallel_for(20, [&](int64_t i) { sum += i; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 3 * 500 * 190);
}

TEST_F(Parallel, WorkersTakeNoSignalThatComesAtAnyMomentButTheirOwnFaults) {
  set_threads(4);
  std::mutex mutex;
  std::set<std::thread::id> workers;
  const auto caller = std::this_thread::get_id();
  for (int tries = 0; tries < 1000 && workers.empty(); ++tries)
    parallel_for(64, [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (std::this_thread::get_id() == caller) return;
      sigset_t blocked;
      pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
      const std::lock_guard lock(mutex);
      workers.insert(std::this_thread::get_id());
      for (int signal : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGPROF, SIGALRM, SIGVTALRM, SIGCHLD, SIGRTMIN})
        EXPECT_TRUE(sigismember(&blocked, signal)) << signal;
      for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) EXPECT_FALSE(sigismember(&blocked, signal)) << signal;
    });
  EXPECT_FALSE(workers.empty());
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_FALSE(sigismember(&blocked, SIGTERM)) << "the caller's own mask is as it was";
}

TEST_F(Parallel, AForkedChildHasAPoolOfItsOwn) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer starts no threads after a fork of several";
  set_threads(3);
  std::atomic<int> done = 0;
  parallel_for(10, [&](int64_t) { ++done; });
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    for (int count : {3, 2, 4}) {
      parallel_for(10, [&](int64_t) { ++done; });
      set_threads(count);
    }
    _exit(done == 40 && threads() == 4 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace gta
