// Two starts of a run live at once, as after a lost node, and no lock keeps them apart: the older one writes nothing
// more, and ends on all its ranks.
#include "launch/fence.h"
#include "core/sanitizer.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <latch>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "core/comm/mpi_transport.h"
#include "core/error.h"
#include "core/log.h"
#include "launch/run_folder.h"
#include "tests/folder_content.h"
#include "tests/launch/ranks_of_small_run.h"

namespace gta {
namespace {

using test::content_of;
using Names = std::vector<std::string>;

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }

 private:
  const char* name_;
};

class FenceFiles : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-fence-XXXXXX";
    run_ = mkdtemp(pattern);
    fence_ = run_ + "/run.fence";
  }
  void TearDown() override { remove_tree(run_); }
  std::string message_of(const std::function<void()>& f, ErrorKind kind = ErrorKind::Failed) {
    try {
      f();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "nothing was refused";
  }
  std::string run_, fence_;
};

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(FenceFiles, EveryStartTakesAHigherNumberAndEndsThoseBeforeIt) {
  Fence first(run_);
  EXPECT_EQ(first.number(), 1);
  EXPECT_TRUE(first.may_write());
  EXPECT_NO_THROW(first.check());
  Fence other_rank(run_, 1);
  EXPECT_TRUE(other_rank.may_write());
  {
    const Variable job("SLURM_JOB_ID", "4711"), restarts("SLURM_RESTART_COUNT", "2");
    const Fence second(run_);
    EXPECT_EQ(second.number(), 2);
  }
  for (Fence* of_first : {&first, &other_rank}) {
    EXPECT_EQ(of_first->taken_over(), "") << "it has not looked";
    EXPECT_FALSE(of_first->may_write());
    EXPECT_TRUE(of_first->overtaken());
    const std::string text = message_of([&] { of_first->check(); });
    expect_part(text, "[" + run_ + "] another start of this run, number 2 on " + Communicator().hosts()[0] + " (pid " +
                          std::to_string(::getpid()) + ", SLURM job 4711, restart 2, since 20");
    expect_part(text, "), has taken over: this one, number 1, stops and writes nothing more");
  }
  EXPECT_EQ(list_directory(fence_), (Names{"1", "2"}));
}

TEST_F(FenceFiles, OnlyTheLatestStay) {
  for (int start = 1; start <= 25; ++start) Fence(run_).check();
  Names expected;
  for (int number = 16; number <= 25; ++number) expected.push_back(std::to_string(number));
  EXPECT_EQ(list_directory(fence_), expected);
}

// Many times, as the moments at which one overtakes the other are short.
TEST_F(FenceFiles, StartsOfTheSameInstantTakeDifferentNumbersAndOneIsTheLast) {
  constexpr int kThreads = 4, kTimes = 300;
  std::set<int64_t> all;
  for (int time = 0; time < kTimes; ++time) {
    std::latch start(kThreads);
    std::vector<std::unique_ptr<Fence>> fences(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([&, i] {
        start.arrive_and_wait();
        fences[static_cast<size_t>(i)] = std::make_unique<Fence>(run_);
      });
    for (std::thread& thread : threads) thread.join();
    int64_t highest = 0;
    for (const auto& fence : fences) {
      EXPECT_TRUE(all.insert(fence->number()).second) << fence->number() << " was taken twice";
      highest = std::max(highest, fence->number());
    }
    for (const auto& fence : fences) EXPECT_EQ(fence->may_write(), fence->number() == highest);
  }
  EXPECT_EQ(all.size(), size_t{kThreads * kTimes});
}

TEST_F(FenceFiles, WhatIsDamagedIsTakenForWhatItIs) {
  make_directories(fence_ + "/99");  // who took it cannot be read
  publish_text(fence_ + "/07", "no start writes such a number");
  publish_text(fence_ + "/notes", "nor such a name");
  publish_text(fence_ + "/9999999999999999", "nor one so long");
  Fence fence(run_);
  EXPECT_EQ(fence.number(), 100);
  EXPECT_TRUE(fence.may_write());
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{\"host\": 3.5}"), std::string(5000, '\0'),
        std::string(1 << 20, '['), std::string("{\"host\": {}, \"pid\": []}")}) {
    Fence old(run_);
    publish_text(fmt::format("{}/{}", fence_, old.number() + 1), text);
    expect_part(message_of([&] { old.check(); }),
                fmt::format("number {} (who took it cannot be read), has taken over", old.number() + 1));
  }
  Fence old(run_);
  publish_text(fmt::format("{}/{}", fence_, old.number() + 1), "{\"host\": \"\\u001b[2Jnode\\n7\", \"pid\": 5}");
  expect_part(message_of([&] { old.check(); }), "on [2Jnode7 (pid 5), has taken over");
  publish_text(fence_ + "/999999999999999", "");
  expect_part(message_of([&] { Fence none(run_); }), "behind which there is none");
}

TEST_F(FenceFiles, WhatHasItsNameAndIsNoneIsRefused) {
  publish_text(fence_, "");
  expect_part(message_of([&] { Fence fence(run_); }, ErrorKind::BadInput), "run.fence] is a file");
  remove_tree(fence_);
  ASSERT_EQ(::symlink("/nowhere/at/all", fence_.c_str()), 0);
  expect_part(message_of([&] { Fence fence(run_); }, ErrorKind::BadInput), "run.fence] is a file");
  EXPECT_NE(message_of([&] { Fence fence(run_ + "/absent", 1); }).find("cannot be opened"), std::string::npos);
}

TEST_F(FenceFiles, RemovedItIsPutBackUnlessAnotherStartHasBegun) {
  auto first = std::make_unique<Fence>(run_);
  Fence old(run_), other_rank(run_, 2);
  remove_tree(fence_);
  EXPECT_TRUE(other_rank.may_write()) << "the start that took the number puts it back";
  EXPECT_FALSE(exists(fence_));
  EXPECT_TRUE(old.may_write());
  EXPECT_EQ(list_directory(fence_), Names{"2"});
  EXPECT_TRUE(other_rank.may_write());
  remove_tree(fence_ + "/2");
  EXPECT_TRUE(old.may_write());
  EXPECT_EQ(list_directory(fence_), Names{"2"});
  remove_tree(fence_);
  Fence began(run_);
  EXPECT_EQ(began.number(), 1);
  EXPECT_FALSE(old.may_write());
  EXPECT_FALSE(other_rank.may_write());
  EXPECT_TRUE(began.may_write());
}

TEST_F(FenceFiles, GoesWithTheFolder) {
  const std::string before = run_ + "/before", after = run_ + "/after";
  make_directories(before);
  Fence old(before), other_rank(before, 1);
  rename_path(before, after);
  make_directories(before);
  const Fence another_run(before);
  const Fence also_there(before);
  EXPECT_TRUE(old.may_write());
  EXPECT_TRUE(other_rank.may_write());
  const Fence next(after);
  EXPECT_FALSE(old.may_write());
  EXPECT_FALSE(other_rank.may_write());
}

TEST_F(FenceFiles, WhereNobodyCanTellNothingIsWrittenButTheLog) {
  if (kAddressSanitizer) GTEST_SKIP() << "it looks at memory through pipes, and here no file can be opened";
  Fence fence(run_);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &none);  // it cannot be listed
  const std::string said = message_of([&] { fence.may_write(); });
  EXPECT_FALSE(fence.overtaken());
  setrlimit(RLIMIT_NOFILE, &before);
  expect_part(said, "cannot be read, and so it is not known whether a later start has taken over: Too many open files");
  EXPECT_TRUE(fence.may_write());
}

// A full disk: the start ends, and the run that trains goes on.
TEST_F(FenceFiles, ANumberThatCannotBeWrittenDownIsNotTaken) {
  Fence old(run_);
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_FSIZE, &none);
  const std::string said = message_of([&] { RunFolder folder(run_); });
  setrlimit(RLIMIT_FSIZE, &before);
  expect_part(said, "cannot write: File too large");
  EXPECT_EQ(list_directory(fence_), Names{"1"});
  EXPECT_TRUE(old.may_write());
  EXPECT_NO_THROW(RunFolder folder(run_)) << "nor is its lock held";
}

TEST_F(FenceFiles, LogsRowsAndNotesOfAnOlderStartAreNotWritten) {
  RunFolder old(run_, FolderLock::Leave);
  old.make_folders();
  old.begin(0);
  log::attach_file(run_ + "/log.txt", log::Level::Debug, [fence = old.fence()] { return !fence->overtaken(); });
  log::info("of the old");
  old.add_metrics(StepRow{.step = 1, .loss = 3});
  old.flush_metrics();
  old.note_checkpoint(1);
  {
    RunFolder now(run_, FolderLock::Leave);
    now.begin(1);
    old.add_metrics(StepRow{.step = 2, .loss = 4});
    EXPECT_TRUE(old.flush_metrics());
    EXPECT_NE(old.fence()->taken_over(), "") << "it looked before it wrote";
    old.note_checkpoint(2);
    log::info("nobody reads");
    now.add_metrics(StepRow{.step = 2, .loss = 5});
  }
  log::detach_file();
  const std::string log = read_file(run_ + "/log.txt");
  expect_part(log, "of the old");
  EXPECT_EQ(log.find("nobody reads"), std::string::npos) << log;
  std::vector<double> losses;
  for (const MetricsRow& row : read_metrics(run_ + "/metrics.jsonl")) losses.push_back(std::get<StepRow>(row).loss);
  EXPECT_EQ(losses, (std::vector<double>{3, 5}));
  EXPECT_EQ(RunFolder(run_, FolderLock::Leave).noted_checkpoint()->step, 1);
  EXPECT_EQ(list_directory(run_ + "/tensorboard"), (Names{"events.out.tfevents.000001", "events.out.tfevents.000002"}));
}

TEST_F(FenceFiles, RowsThatMayNotBeWrittenAnyMoreAreLostAndThoseThatMayLaterWait) {
  enum { Yes, No, Unknown } may = Yes;
  {
    AppendFile file(run_ + "/rows", 0, [&] {
      if (may == Unknown) fail("disk", "is away");
      return may == Yes;
    });
    file.add("a");
    file.flush();
    may = Unknown;
    file.add("b");
    file.flush();
    EXPECT_FALSE(file.complete());
    EXPECT_EQ(read_file(run_ + "/rows"), "a");
    may = Yes;
    file.flush();
    may = No;
    file.add("c");
    file.flush();
    EXPECT_TRUE(file.complete());
    file.add("d");
  }
  EXPECT_EQ(read_file(run_ + "/rows"), "ab");
}

// As a host's buffers do that has lost its network, and writes what was allowed when it was handed over.
TEST_F(FenceFiles, WhatTheSystemWritesLateReachesNoFileOfTheLaterStart) {
  const std::string metrics = run_ + "/metrics.jsonl";
  RunFolder old(run_, FolderLock::Leave);
  old.begin(0);
  old.add_metrics(StepRow{.step = 1, .loss = 3});
  old.flush_metrics();
  const std::string events = run_ + "/tensorboard/events.out.tfevents.000001";
  const File open_metrics(metrics, File::Mode::ReadWrite), open_events(events, File::Mode::ReadWrite);
  RunFolder now(run_, FolderLock::Leave);
  now.begin(1);
  now.flush_metrics();
  const std::string rows = read_file(metrics), scalars = read_file(events);
  for (const File* file : {&open_metrics, &open_events}) file->write_at("late", 4, file->size());
  EXPECT_EQ(read_file(metrics), rows);
  EXPECT_EQ(read_file(events), scalars);
  EXPECT_FALSE(rows.empty());
}

void expect_same_files(const std::map<std::string, std::string>& now, const std::map<std::string, std::string>& before,
                       const std::string& when) {
  for (const auto& [path, text] : before) {
    // What is left of a save that the older start had begun goes when it ends.
    if (path.find("/.tmp-step-") != std::string::npos) continue;
    const auto found = now.find(path);
    EXPECT_TRUE(found != now.end() && found->second == text) << when << ": " << path << " is another one";
  }
  for (const auto& [path, text] : now) EXPECT_TRUE(before.contains(path)) << when << ": " << path << " was added";
  for (const auto& [path, text] : now)
    EXPECT_EQ(path.find("/.tmp-step-"), std::string::npos) << when << ": " << path << " is left";
}

class Fenced : public RanksOfSmallRun {
 protected:
  static constexpr const char *kSynchronous = "train.checkpoint.asynchronous=false",
                              *kAsynchronous = "train.checkpoint.asynchronous=true";
  const std::vector<std::string> kOverrides = {"train.steps=4",
                                               "train.micro_batch_size=1",
                                               "train.checkpoint.every_steps=2",
                                               "train.checkpoint.keep=1",
                                               "train.evaluate_every_steps=2",
                                               "train.sample_every_steps=2",
                                               "train.sample_prompts=[abc]",
                                               "train.sample_tokens=2"};

  // On the CPU: what is looked at are files, which a second training makes at each of dozens of moments.
  WatchedRun options(const std::string& run) {
    WatchedRun options = RanksOfSmallRun::options(run);
    options.device = "cpu";
    return options;
  }

  // Of the ranks of a run, one begins to write for the `look`-th time when another start begins, takes over and trains
  // to its end: all ranks of the first one end, and what the second one made is as it left it. Whether it came to that.
  bool overtaken_at(int64_t ranks, int64_t rank, int64_t look, const std::string& mode) {
    const std::string when = fmt::format("{} ranks, look {} of rank {}, {}", ranks, look, rank, mode),
                      run = fmt::format("run-{}-{}-{}-{}", ranks, rank, look, mode.size());
    std::vector<std::string> overrides = kOverrides;
    overrides.push_back(mode);
    std::vector<std::string> of_second = overrides;
    of_second.push_back("train.sample_prompts=[cba]");  // so that nothing of it is equal by chance
    std::atomic<int64_t> begun = 0, begun_then = 0;     // micro-batches of the rank
    std::atomic<int64_t> looks = 0;
    std::atomic<bool> happened = false;
    std::mutex mutex;  // nobody else looks meanwhile
    std::map<std::string, std::string> made;
    const std::vector<RankEnd> ends = train_as(ranks, run, overrides, [&](int64_t of) {
      TrainHooks hooks;
      hooks.folder_lock = FolderLock::Leave;
      hooks.before_micro_batch = [&, of](int64_t, int64_t) { begun += of == rank ? 1 : 0; };
      hooks.before_look_at_fence = [&, of] {
        const std::lock_guard lock(mutex);
        if (of != rank || ++looks != look) return;
        happened = true;
        begun_then = begun.load();
        WatchedRun second = options(run);
        second.folder_lock = FolderLock::Leave;
        EXPECT_NE(train(load(of_second), second).outcome, TrainOutcome::Interrupted) << when;
        made = content_of(second.run_dir);
      };
      return hooks;
    });
    for (const RankEnd& end : ends) {
      EXPECT_EQ(end.result.has_value(), !happened) << when << ": " << end.error;
      if (!happened) continue;
      EXPECT_TRUE(end.agreed || ranks == 1) << when << ": " << end.error;
      EXPECT_NE(end.error.find("another start of this run, number 2 on "), std::string::npos) << when << end.error;
      EXPECT_NE(end.error.find("has taken over: this one, number 1, stops"), std::string::npos) << when << end.error;
    }
    if (happened) {
      // Where the step after it waits for the save, that is the last one.
      if (mode == kSynchronous) {
        EXPECT_LE(begun, begun_then + 4 / ranks) << when;
      }
      expect_same_files(content_of(folder_ + "/" + run), made, when);
      EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/" + run)).position().step, 4) << when;
    }
    remove_tree(folder_ + "/" + run);
    return happened;
  }
};

TEST_F(Fenced, AnOlderStartWritesNothingFromWhateverMomentOn) {
  for (const char* mode : {kSynchronous, kAsynchronous}) {
    int64_t look = 1;
    while (overtaken_at(1, 0, look, mode)) ++look;
    EXPECT_GT(look, 20) << "the start, rows, two saves, two samples and notes";
  }
}

TEST_F(Fenced, AllRanksOfAnOlderStartEndWhicheverSeesTheLaterOne) {
  for (const auto& [rank, mode] : {std::pair(0, kSynchronous), {1, kSynchronous}, {1, kAsynchronous}}) {
    int64_t look = 1;
    while (overtaken_at(2, rank, look, mode)) ++look;
    EXPECT_GT(look, rank == 0 ? 20 : 4) << "at least before and behind each file";
  }
}

TEST_F(Fenced, WhatBeginsAnewEndsTheRunThatItMovesAside) {
  WatchedRun old = options("run");
  old.folder_lock = FolderLock::Leave;
  old.before_update = [&](int64_t step, ParameterSpace&) {
    if (step != 2) return;
    WatchedRun fresh = options("run");
    fresh.use = FolderUse::Fresh;
    fresh.folder_lock = FolderLock::Leave;
    EXPECT_EQ(train(load({"train.steps=3"}), fresh).outcome, TrainOutcome::Finished);
  };
  try {
    train(load(), old);
    ADD_FAILURE() << "it went on";
  } catch (const Error& error) {
    expect_part(error.what(), "another start of this run, number 2 on ");
  }
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/run")).position().step, 3);
  EXPECT_EQ(list_directory(folder_ + "/run.before-1/checkpoints"), Names{});
  EXPECT_EQ(list_directory(folder_ + "/run/run.fence"), Names{"1"});
}

TEST_F(Fenced, ADiskThatIsFullAtTheStartEndsItBeforeTraining) {
  ASSERT_EQ(gta("train " + folder_ + "/run.yaml --device cpu --run-dir " + folder_ + "/run --set train.steps=3"), 0);
  const std::string before = read_file(folder_ + "/run/metrics.jsonl");
  signal(SIGXFSZ, SIG_DFL);
  const int status = std::system(fmt::format("bash -c \"trap '' XFSZ; ulimit -S -f 0; exec {0} train {1}/run.yaml "
                                             "--device cpu --run-dir {1}/run\" 2>&1 | cat >{1}/full.txt",
                                             kGta, folder_)
                                     .c_str());
  EXPECT_EQ(status, 0);
  expect_part(read_file(folder_ + "/full.txt"), "cannot write: File too large");
  EXPECT_EQ(read_file(folder_ + "/run/metrics.jsonl"), before);
  EXPECT_EQ(list_directory(folder_ + "/run/run.fence"), Names{"1"});
}

// Processes: one is stopped, as one whose host is away, and its lock is gone with it.
class FencedProcesses : public Fenced {
 protected:
  // The exit code; that of a kill where it does not end by itself.
  int end_of(pid_t child) {
    int status = 0;
    for (int tries = 0; tries < 12000; ++tries) {
      if (::waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return -1;
  }

  // command: of the older start, whose output goes to old.txt.
  void expect_overtaken(const std::string& command) {
    const std::string run = folder_ + "/run";
    const pid_t old = fork();
    if (old == 0) {
      execl("/bin/sh", "sh", "-c", ("exec " + command + " >" + folder_ + "/old.txt 2>&1").c_str(), nullptr);
      _exit(127);
    }
    const std::string note = run + "/last_checkpoint.json";
    while (!exists(note) || read_file(note).empty()) {
      ASSERT_EQ(::waitpid(old, nullptr, WNOHANG), 0) << read_file(folder_ + "/old.txt");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const auto lead = static_cast<pid_t>(std::stol(read_file(run + "/run.lock")));
    ::kill(lead, SIGSTOP);
    publish_text(run + "/run.lock", "");  // another file, which nobody has locked
    const int64_t last = Checkpoint::open(resolve_checkpoint(run)).position().step + 3;
    EXPECT_EQ(gta(fmt::format("train {}/run.yaml --device cpu --run-dir {} --set train.micro_batch_size=1 --set "
                              "train.steps={}",
                              folder_, run, last)),
              0)
        << errors();
    const std::map<std::string, std::string> made = content_of(run);
    ::kill(lead, SIGCONT);
    EXPECT_EQ(end_of(old), 1) << read_file(folder_ + "/old.txt");
    expect_part(read_file(folder_ + "/old.txt"), "another start of this run, number 2 on ");
    expect_same_files(content_of(run), made, command);
    EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).position().step, last);
    expect_part(made.at(run + "/log.txt"), "done: ");
  }
  std::string train_command() const {
    return fmt::format(
        "{} train {}/run.yaml --device cpu --run-dir {}/run --set train.micro_batch_size=1 --set train.steps=1000000 "
        "--set train.checkpoint.every_steps=100",
        kGta, folder_, folder_);
  }
};

TEST_F(FencedProcesses, OneThatWasAwayStopsWhenItIsBack) { expect_overtaken(train_command()); }

TEST_F(FencedProcesses, RanksOfMpirunWhoseLeadWasAwayAllStop) {
  if (!has_mpi() || std::system("command -v mpirun >/dev/null") != 0) GTEST_SKIP() << "there is no mpirun here";
  if (kAddressSanitizer) GTEST_SKIP() << "MPI's library leaks";
  expect_overtaken("env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 2 " +
                   train_command());
}

}  // namespace
}  // namespace gta
