// Proves on a user's own configuration that an interrupted run equals an uninterrupted one, bit for bit, in processes
// of their own: the same run once whole, once killed with SIGKILL at random moments (also while a save is in flight),
// and once stopped by the signals that ask for a save, each time started again. Of several ranks one alone is killed,
// or gets the signal, and that ends all of them.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "checkpoints/reader.h"
#include "core/clock.h"
#include "core/comm/launcher.h"
#include "core/comm/mpi_transport.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "core/parallel.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"

namespace gta {
namespace {

constexpr double kShortest = 0.2;  // seconds; of a run that is over sooner, nothing is left to kill

constexpr std::array kStops = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

struct CheckFailed {
  std::string text;
};

pid_t start_training(const VerifyResumeCommand& command, const std::string& run_dir) {
  const bool alone = command.ranks == 1;
  std::vector<std::string> words;
  if (!alone) {
    words = {"mpirun",          "-n",    std::to_string(command.ranks), "--bind-to", "none",
             "--oversubscribe", "--mca", "mpi_yield_when_idle",         "1",         "--quiet"};
    // As launch/local: here, also where a batch system has given the caller other machines.
    words.insert(words.end(), {"--mca", "ras", "^slurm,tm,loadleveler,gridengine", "--mca", "plm", "isolated"});
    if (::getuid() == 0) words.emplace_back("--allow-run-as-root");
  }
  // The program itself, also when another was built over it meanwhile.
  const std::string program = alone ? "gta" : std::filesystem::read_symlink("/proc/self/exe").string();
  words.insert(words.end(), {program, "train", command.config, "--run-dir", run_dir, "--device", command.device});
  if (alone) words.insert(words.end(), {"--threads", std::to_string(threads())});
  for (const std::string& text : command.overrides) words.insert(words.end(), {"--set", text});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid(), child = fork();
  if (child < 0) fail("verify-resume", "cannot start a process: {}", std::strerror(errno));
  if (child > 0) return child;
  // A training that nobody waits for any more would hold its folder's lock against the next call.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) _exit(127);
  const int log = ::open((run_dir + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (log >= 0) ::dup2(log, STDERR_FILENO);
  // Under nohup, or in a script's background, they would be ignored for ever.
  for (int signal : kStops) std::signal(signal, SIG_DFL);
  // Signals stay blocked, as they are here, until the training is there to take them: none ends it while it is being
  // loaded.
  if (alone)
    ::execv("/proc/self/exe", arguments.data());
  else
    ::execvp(arguments[0], arguments.data());
  _exit(127);
}

// The ranks that a launcher has started, by their rank; the training itself where there is one.
std::vector<pid_t> ranks_of(pid_t child, int64_t ranks) {
  if (ranks == 1) return {child};
  std::vector<pid_t> found;
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", child));
  for (pid_t rank = 0; children >> rank;) found.push_back(rank);
  return found;
}

// A signal for one of the training's processes; false where not all have been started yet, or they have ended.
bool signal_one(pid_t child, int64_t ranks, int signal, std::mt19937_64& random) {
  const std::vector<pid_t> all = ranks_of(child, ranks);
  return static_cast<int64_t>(all.size()) >= ranks && ::kill(all[random() % all.size()], signal) == 0;
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void expect_done(int status, const std::string& run_dir) {
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail("verify-resume", "training did not end well: see {}.log", run_dir);
}

// What must be equal: every range's hash, the position, and the losses of every step.
std::string fingerprint(const std::string& run_dir) {
  const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(run_dir));
  checkpoint.verify();
  const TrainingPosition& position = checkpoint.position();
  std::string text = fmt::format("step {} tokens {} sample {} updates {} skipped {}\n", position.step, position.tokens,
                                 position.next_sample, position.updates, position.skipped_steps);
  for (const ManifestEntry& entry : checkpoint.entries())
    text += fmt::format("{} {} {} {}\n", entry.part, entry.parameter, entry.first, hash_text(entry.hash));
  return text;
}

// Of the uninterrupted run, in seconds: until the first step, and in all.
struct Duration {
  double start, whole;
};

Duration run_whole(const VerifyResumeCommand& command, const std::string& run_dir) {
  const Clock::time_point begin = Clock::now();
  const pid_t child = start_training(command, run_dir);
  siginfo_t ended{};
  while (!exists(run_dir + "/metrics.jsonl") && ended.si_pid == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT);
  }
  const double start = seconds_since(begin);
  expect_done(wait_for(child), run_dir);
  return {start, seconds_since(begin)};
}

// One way to end a training, and at which moments.
struct Interruption {
  const char* what;
  std::vector<int> signals;              // in turn
  std::function<bool(int)> as_expected;  // of the status of a training that was ended so
  std::function<double(const Duration&, std::mt19937_64&)> moment;
};

// Starts the training again and again, ends it `count` times, and lets it come to its end at last. Returns how often it
// was ended.
int64_t interrupt(const VerifyResumeCommand& command, const std::string& run_dir, const Interruption& how,
                  int64_t count, Duration duration, std::mt19937_64& random) {
  int64_t times = 0;
  while (times < count) {
    const pid_t child = start_training(command, run_dir);
    const double moment = how.moment(duration, random);
    const Clock::time_point begin = Clock::now();
    int status = 0;
    pid_t ended = 0;
    while (ended == 0 && seconds_since(begin) < moment) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ended = ::waitpid(child, &status, WNOHANG);
    }
    const int signal = how.signals[static_cast<size_t>(times) % how.signals.size()];
    while (ended == 0 && !signal_one(child, command.ranks, signal, random)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ended = ::waitpid(child, &status, WNOHANG);
    }
    if (ended == 0) status = wait_for(child);
    // or it came to its end meanwhile
    if (ended == child || (signal != SIGKILL && WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
      expect_done(status, run_dir);
      if (times > 0 || duration.whole < kShortest) break;
      // The machine had less else to do than the first time.
      log::info("the run ended before it could be {}: begins anew, and is to be sooner", how.what);
      duration = {duration.start / 4, duration.whole / 4};
      remove_tree(run_dir);
      continue;
    }
    ++times;
    const std::string with = fmt::format("{} after {:.2f} s", strsignal(signal), moment);
    if (!how.as_expected(status))
      throw CheckFailed{fmt::format("{}: {} {}, expected exit code {} after a save: see {}.log", with,
                                    WIFSIGNALED(status) ? "it was ended by signal" : "its exit code was",
                                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), kExitInterrupted,
                                    run_dir)};
    const std::vector<std::string> saved = list_checkpoints(run_dir + "/checkpoints");
    log::info("{}; newest checkpoint {}", with, saved.empty() ? "none" : saved.back());
  }
  expect_done(wait_for(start_training(command, run_dir)), run_dir);
  if (times == 0) fail("verify-resume", "the run ended before it could be {}: give it more steps", how.what);
  return times;
}

// Each start gets part of the whole time, so that progress is made in between: a kill loses what came after the last
// save, a stop nothing.
Interruption by_kill() {
  return {"killed",
          {SIGKILL},
          [](int) { return true; },
          [](const Duration& d, std::mt19937_64& random) {
            return d.whole * std::uniform_real_distribution<double>(0.1, 0.9)(random);
          }};
}
Interruption by_stop(int64_t count) {
  return {"stopped",
          {kStops.begin(), kStops.end()},
          [](int status) { return WIFEXITED(status) && WEXITSTATUS(status) == kExitInterrupted; },
          [count](const Duration& d, std::mt19937_64& random) {
            return d.start + (d.whole - d.start) / static_cast<double>(count + 1) *
                                 std::uniform_real_distribution<double>(0, 2)(random);
          }};
}

void require_mpirun() {
  if (launcher())
    bad_input("--ranks", "this process is a rank of {}'s already: start it plainly, it starts mpirun itself",
              launcher()->name);
  if (!has_mpi()) mpi_transport();  // says how to get a build that has it
  if (std::system("mpirun --version 2>/dev/null | grep -qi 'open mpi\\|openrte'") != 0)
    bad_input("--ranks", "there is no mpirun of Open MPI here (Debian: openmpi-bin)");
}

// A file in the folder says that its runs are this command's to remove, and its lock that no other process is at it.
File take_folder(const std::string& path) {
  const std::string mark = path + "/verify-resume.lock";
  if (exists(path) && !exists(mark) && (!is_directory(path) || !list_directory(path).empty()))
    bad_input(
        path,
        "holds something that verify-resume did not make, and would be in the way: name a folder that is new or empty");
  make_directories(path);
  File file(mark, exists(mark) ? File::Mode::ReadWrite : File::Mode::Create);
  if (::flock(file.descriptor(), LOCK_EX | LOCK_NB) != 0)
    fail(path, "is in use by another verify-resume: wait for it, or give this one another --run-dir");
  return file;
}

}  // namespace

int run_verify_resume(const VerifyResumeCommand& command) {
  const LoadedRun run = load_run_config(command.config, command.overrides, DataFiles::Expand, command.ranks);
  if (command.ranks > 1) require_mpirun();
  const std::string base = command.run_dir.empty() ? "runs/" + run.config.name + ".verify-resume" : command.run_dir;
  const std::string whole = base + "/whole";
  const File owned = take_folder(base);
  for (const char* name : {"whole", "killed", "stopped"})
    for (const std::string& path : {base + "/" + name, base + "/" + name + ".log"}) remove_tree(path);

  const Duration duration = run_whole(command, whole);
  log::info("uninterrupted: {} steps in {:.1f} s", run.config.train.steps, duration.whole);
  std::mt19937_64 random(command.seed ? static_cast<uint64_t>(command.seed)
                                      : static_cast<uint64_t>(Clock::now().time_since_epoch().count()));
  bool all = true;
  for (const auto& [how, count] : {std::pair{by_kill(), command.kills}, {by_stop(command.stops), command.stops}}) {
    if (count == 0) continue;
    const std::string run_dir = base + "/" + how.what;
    try {
      const int64_t times = interrupt(command, run_dir, how, count, duration, random);
      const bool equal = fingerprint(whole) == fingerprint(run_dir);
      fmt::print("{}: {} {} of {} times and resumed, the run {} the uninterrupted one bit for bit ({} and {})\n",
                 equal ? "holds" : "FAILS", how.what, times, count, equal ? "equals" : "does not equal", whole,
                 run_dir);
      all &= equal;
    } catch (const CheckFailed& failed) {
      fmt::print("FAILS: {}\n", failed.text);
      all = false;
    }
  }
  return all ? 0 : kExitCheckFailed;
}

}  // namespace gta
