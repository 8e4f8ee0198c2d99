// Kills and disk errors at every system call of a save, by one owner or by two that write their files in turn. This
// program runs itself again under strace as the saving
// program (the variable below says where to save), and strace kills it or makes a call fail. Whatever happens, the
// loader finds exactly the old checkpoint or exactly the new one, and the next save succeeds.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "checkpoints/saver.h"
#include "checkpoints/writer.h"
#include "core/io/file.h"
#include "core/io/hdf5.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

using test::holds, test::OwnedState, test::TemporaryFolder, test::training_state;

constexpr const char* kVariable = "GTA_TEST_SAVING_PROGRAM";  // DIRECTORY:STEP:OWNERS
constexpr int kSaved = 0, kNotSaved = 3;
constexpr uint64_t kOldSeed = 1, kNewSeed = 2, kLaterSeed = 3;

enum class Owners : uint8_t { One, Two, TwoSecondFirst };

std::vector<std::string> rank_files(Owners owners) {
  if (owners == Owners::One) return {"/rank-0000-of-0001.h5"};
  return {"/rank-0000-of-0002.h5", "/rank-0001-of-0002.h5"};
}

bool save_by_two(const std::string& directory, int64_t step, Owners owners) {
  const OwnedState owned(kNewSeed);
  try {
    test::write_by_owners(directory, owned, step, kNewSeed, {0, 0.5, 1},
                          owners == Owners::Two ? test::Order::FirstToLast : test::Order::LastToFirst);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "could not be saved: %s\n", error.what());
    return false;
  }
  try {
    prune_checkpoints(directory, 1, 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "older checkpoints stay: %s\n", error.what());
  }
  return true;
}

// The saving program: one save that keeps one checkpoint, so that pruning is swept too.
class SavingProgram : public testing::Environment {
 public:
  void SetUp() override {
    const char* variable = std::getenv(kVariable);
    if (!variable) return;
    std::string directory = variable;
    const auto last_field = [&] {
      const size_t colon = directory.rfind(':');
      const std::string field = directory.substr(colon + 1);
      directory.resize(colon);
      return std::stoll(field);
    };
    const auto owners = static_cast<Owners>(last_field());
    const int64_t step = last_field();
    bool good = false;
    if (owners != Owners::One) {
      good = save_by_two(directory, step, owners);
    } else {
      const OwnedState owned(kNewSeed);
      CheckpointSaver saver(directory, 1, 0, false);
      saver.save(training_state(owned, step, kNewSeed));
      good = saver.finish();
    }
    std::exit(good ? kSaved : kNotSaved);  // through the libraries' own clean-up, which must not crash either
  }
};
const testing::Environment* const registered = testing::AddGlobalTestEnvironment(new SavingProgram);

// One save in a fresh folder that holds the old checkpoint of step 1.
class Save {
 public:
  Save(int64_t step, Owners owners) : step_(step), owners_(owners), directory_(folder_.path() + "/checkpoints") {
    const OwnedState owned(kOldSeed);
    write_checkpoint(directory_, training_state(owned, 1, kOldSeed));
  }

  // Returns the wait status of the saving program under strace.
  int run(const std::string& options) const {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    // A sanitizer's search for leaks cannot work under a tracer, and would end the program with a code of its own.
    const std::string command = std::string("exec env ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS ") + kVariable + "=" +
                                directory_ + ":" + std::to_string(step_) + ":" +
                                std::to_string(static_cast<int>(owners_)) + " strace -f -qq -o " + trace() + " " +
                                options + " " + self + " >" + folder_.path() + "/said 2>&1";
    return std::system(command.c_str());
  }

  int count(const std::string& call) const {
    run(only(call) + "-e trace=" + call);
    std::ifstream lines(trace());
    int calls = 0;
    for (std::string line; std::getline(lines, line);) calls += line.find(call + "(") != std::string::npos;
    return calls;
  }

  // Programs close files before main() too, and do not start when that fails: of closes, only those of what is being
  // written.
  std::string only(const std::string& call) const {
    if (call != "close") return "";
    const std::string temporary = directory_ + "/.tmp-" + checkpoint_name(step_);
    std::string paths = "-P " + temporary + "/manifest.json ";
    for (const std::string& file : rank_files(owners_)) paths += "-P " + temporary + file + " ";
    return paths;
  }

  void expect_old_or_new(const std::string& when) const {
    testing::internal::CaptureStderr();
    const auto found = find_newest_good(directory_);
    const std::string warnings = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(found.has_value()) << when << "\n" << warnings;
    EXPECT_EQ(warnings, "") << when;
    EXPECT_TRUE(holds(*found, 1, kOldSeed) || holds(*found, step_, kNewSeed)) << when << " " << *found;
    for (const std::string& name : list_checkpoints(directory_))
      EXPECT_NO_THROW(Checkpoint::open(directory_ + "/" + name).verify()) << when;
  }
  void expect_new(const std::string& when) const {
    const auto found = find_newest_good(directory_);
    ASSERT_TRUE(found.has_value()) << when;
    EXPECT_TRUE(holds(*found, step_, kNewSeed)) << when << " " << *found;
  }
  void expect_next_save_succeeds(const std::string& when) const {
    const OwnedState owned(kLaterSeed);
    CheckpointSaver saver(directory_, 1, 0, false);
    saver.save(training_state(owned, 7, kLaterSeed));
    EXPECT_TRUE(saver.finish()) << when;
    EXPECT_EQ(list_directory(directory_), (std::vector<std::string>{"latest", "step-00000007"})) << when;
    EXPECT_TRUE(holds(directory_ + "/latest", 7, kLaterSeed)) << when;
  }
  std::string said() const { return read_file(folder_.path() + "/said"); }
  const std::string& directory() const { return directory_; }
  // The calls of one save that is let alone, in order, with the paths of descriptors.
  std::vector<std::string> calls(const std::string& names) const {
    EXPECT_EQ(WEXITSTATUS(run("-y -e trace=" + names)), kSaved) << said();
    std::vector<std::string> found;
    std::ifstream lines(trace());
    for (std::string line; std::getline(lines, line);) found.push_back(line);
    return found;
  }

 private:
  std::string trace() const { return folder_.path() + "/trace"; }

  TemporaryFolder folder_;
  int64_t step_;
  Owners owners_;
  std::string directory_;
};

bool strace_works() { return std::system("strace -qq -o /dev/null true >/dev/null 2>&1") == 0; }
#define SKIP_WITHOUT_STRACE() \
  if (!strace_works()) GTEST_SKIP() << "strace is not installed, or tracing is not allowed here"

struct Case {
  int64_t step;  // that is saved over step 1: another, or the same
  Owners owners;
};
class InjectedFault : public testing::TestWithParam<Case> {
 protected:
  static Save fresh() { return {GetParam().step, GetParam().owners}; }
};

void sweep_kills(const Case& what, const std::string& call, const std::string& always) {
  // A call that an error refuses costs others, which the count must see.
  const int calls = Save(what.step, what.owners).count(call) + (always.empty() ? 0 : 1);
  int killed = 0;
  for (int n = 1; n <= calls; ++n) {
    const std::string when = fmt::format("killed at {} number {} of {}{}", call, n, calls, always);
    const Save save(what.step, what.owners);
    const int status =
        save.run(save.only(call) +
                 fmt::format("{} -e trace={},renameat2 -e inject={}:signal=KILL:when={}", always, call, call, n));
    killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    save.expect_old_or_new(when);
    save.expect_next_save_succeeds(when);
  }
  EXPECT_GE(killed, calls - (always.empty() ? 0 : 1)) << call;
  std::printf("  %-10s killed at each of %d calls\n", call.c_str(), killed);
}

constexpr const char* kCalls[] = {"pwrite64", "fsync",  "ftruncate", "mkdir", "rename", "renameat2",
                                  "symlink",  "unlink", "unlinkat",  "rmdir", "close"};

TEST_P(InjectedFault, aKillAtAnyCallLeavesTheOldOrTheNewCheckpoint) {
  SKIP_WITHOUT_STRACE();
  for (const char* call : kCalls) sweep_kills(GetParam(), call, "");
}

TEST_P(InjectedFault, aDiskErrorAtAnyCallLeavesTheOldOrTheNewCheckpoint) {
  SKIP_WITHOUT_STRACE();
  const auto errors = [](const std::string& call) -> std::vector<std::string> {
    if (call == "pwrite64" || call == "mkdir") return {"ENOSPC", "EIO"};
    return {"EIO"};
  };
  for (const std::string call : kCalls) {
    const int calls = fresh().count(call);
    int refused = 0;
    for (const std::string& error : errors(call))
      for (const char* persistent : {"", "+"})
        for (int n = 1; n <= calls; ++n) {
          const std::string when = fmt::format("{} {} at number {}{} of {}", call, error, n, persistent, calls);
          const Save save = fresh();
          const int status = save.run(save.only(call) + fmt::format("-e trace={} -e inject={}:error={}:when={}{}", call,
                                                                    call, error, n, persistent));
          ASSERT_TRUE(WIFEXITED(status)) << when << ": the saving program crashed\n" << save.said();
          const int code = WEXITSTATUS(status);
          EXPECT_TRUE(code == kSaved || code == kNotSaved) << when << ": exit code " << code << "\n" << save.said();
          refused += code == kNotSaved;
          if (code == kNotSaved) {
            EXPECT_NE(save.said().find("could not be saved"), std::string::npos) << when;
          }
          save.expect_old_or_new(when);
          if (code == kSaved) save.expect_new(when);
          if (call == "symlink") {
            EXPECT_EQ(code, kSaved) << when << ": all but the link is there";
            EXPECT_NE(save.said().find("is saved, but: "), std::string::npos) << when << save.said();
          }
          save.expect_next_save_succeeds(when);
        }
    std::printf("  %-10s %d calls, %d saves refused\n", call.c_str(), calls, refused);
    if (call == "pwrite64" || call == "fsync") {
      EXPECT_GT(refused, calls);
    }
    if (call == "close") {
      EXPECT_GE(refused, 4) << "of the data and of the manifest, once and from then on";
    }
  }
}

// A kill leaves what was written in the system's cache, so only the order of calls shows what a power cut would leave:
// nothing is published before all of it is on disk, and nothing is removed before that is.
TEST_P(InjectedFault, everythingIsOnDiskBeforeItIsPublishedAndThatBeforeAnythingIsRemoved) {
  SKIP_WITHOUT_STRACE();
  const Save save = fresh();
  std::filesystem::create_directories(save.directory() + "/.tmp-step-00000000/left");  // by an interrupted writer
  const std::string name = checkpoint_name(GetParam().step), temporary = save.directory() + "/.tmp-" + name;
  const std::vector<std::string> calls = save.calls("pwrite64,ftruncate,fsync,rename,renameat2,unlinkat,rmdir");
  const auto where = [&](const std::function<bool(const std::string&)>& is, size_t from = 0) {
    return static_cast<size_t>(std::find_if(calls.begin() + static_cast<std::ptrdiff_t>(from), calls.end(), is) -
                               calls.begin());
  };
  const auto on = [](const std::string& call, const std::string& path) {
    return [=](const std::string& line) {
      return line.find(call + "(") != std::string::npos && line.find("<" + path + ">") != std::string::npos;
    };
  };
  const auto removes = [](const std::string& line) {
    return line.find("unlinkat(") != std::string::npos || line.find("rmdir(") != std::string::npos;
  };
  const size_t published = where([&](const std::string& line) {
    return line.find("rename") != std::string::npos && line.find("\"" + temporary + "\"") != std::string::npos &&
           line.find("/" + name + "\"") != std::string::npos;
  });
  ASSERT_LT(published, calls.size());
  size_t last_written = 0;
  std::vector<std::string> files = rank_files(GetParam().owners);
  files.emplace_back("/manifest.json");
  for (const std::string& file : files) {
    size_t written = calls.size();
    for (size_t i = where(on("pwrite64", temporary + file)); i < calls.size();
         i = where(on("pwrite64", temporary + file), i + 1))
      written = i;
    ASSERT_LT(written, published) << file;
    EXPECT_LT(where(on("fsync", temporary + file), written), published)
        << file << " is not synced after its last write";
    last_written = std::max(last_written, written);
  }
  EXPECT_LT(where(on("fsync", temporary), last_written), published) << "the names in the folder are not synced";
  const size_t after = where(on("fsync", save.directory()), published);
  EXPECT_LT(after, calls.size()) << "the new name is not synced";
  EXPECT_LT(after, where(removes, published)) << "the old one goes before the new name is synced";
  EXPECT_LT(where(on("fsync", save.directory())), where(removes))
      << "leftovers go before it is known what took their place";
}

// A disk that says it has written and has not: what was published is not believed, and the old one is still there.
TEST_P(InjectedFault, aSwallowedOrShortWriteIsFound) {
  SKIP_WITHOUT_STRACE();
  const int calls = fresh().count("pwrite64");
  for (int n = 1; n <= calls; ++n) {
    const std::string when = fmt::format("write {} of {} swallowed after one byte", n, calls);
    const Save save = fresh();
    const int status = save.run(fmt::format("-e trace=pwrite64 -e inject=pwrite64:retval=1:when={}", n));
    ASSERT_TRUE(WIFEXITED(status)) << when << save.said();
    EXPECT_TRUE(WEXITSTATUS(status) == kSaved || WEXITSTATUS(status) == kNotSaved) << when << save.said();
    save.expect_old_or_new(when);
    if (WEXITSTATUS(status) == kSaved) {
      save.expect_new(when);
      // Our own loader needs no header; other programs do.
      for (const std::string& file : rank_files(GetParam().owners)) {
        const hdf5::Reader reader(save.directory() + "/latest" + file);
        for (const auto& [name, dataset] : reader.datasets()) EXPECT_NO_THROW(reader.read_double(name)) << when;
      }
    }
  }
}

// Where two names cannot be exchanged in one call (NFS), replacing takes two renames.
TEST(InjectedFaultWithoutExchange, aKillAtAnyCallLeavesTheOldOrTheNewCheckpoint) {
  SKIP_WITHOUT_STRACE();
  for (const char* call : {"rename", "fsync", "unlinkat", "symlink"})
    sweep_kills({1, Owners::One}, call, " -e inject=renameat2:error=EINVAL");
}

INSTANTIATE_TEST_SUITE_P(Steps, InjectedFault,
                         testing::Values(Case{2, Owners::One}, Case{1, Owners::One}, Case{2, Owners::Two},
                                         Case{1, Owners::Two}, Case{1, Owners::TwoSecondFirst}),
                         [](const auto& info) {
                           const std::string step = info.param.step == 1 ? "theSameStep" : "anotherStep";
                           return step + (info.param.owners == Owners::One   ? ""
                                          : info.param.owners == Owners::Two ? "ByTwo"
                                                                             : "ByTwoTheSecondFirst");
                         });

}  // namespace
}  // namespace gta
