// Proves on a user's own configuration that an interrupted run equals an uninterrupted one, bit for bit: the same run twice, once whole,
// once killed with SIGKILL at random moments (also while a save is in flight) and started again, in processes of their own.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "core/parallel.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"

namespace gta {
namespace {

constexpr double kShortest = 0.2;  // seconds; of a run that is over sooner, nothing is left to kill

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

pid_t start_training(const VerifyResumeCommand& command, const std::string& run_dir) {
  std::vector<std::string> words = {std::filesystem::read_symlink("/proc/self/exe").string(), "train", command.config, "--run-dir", run_dir, "--device", command.device,
                                    "--threads", std::to_string(threads())};
  for (const std::string& text : command.overrides) words.insert(words.end(), {"--set", text});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) fail("verify-resume", "cannot start a process: {}", std::strerror(errno));
  if (child > 0) return child;
  const int log = ::open((run_dir + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (log >= 0) ::dup2(log, STDERR_FILENO);
  ::execv(arguments[0], arguments.data());
  _exit(127);
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void expect_done(int status, const std::string& run_dir) {
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("verify-resume", "training did not end well: see {}.log", run_dir);
}

// What must be equal: every range's hash, the position, and the losses of every step.
std::string fingerprint(const std::string& run_dir) {
  const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(run_dir));
  checkpoint.verify();
  TrainingPosition position = checkpoint.position();
  position.metrics_bytes = 0;  // rows carry times, whose digits differ
  std::string text = fmt::format("step {} tokens {} sample {} updates {} skipped {}\n", position.step, position.tokens, position.next_sample, position.updates, position.skipped_steps);
  for (const ManifestEntry& entry : checkpoint.entries()) text += fmt::format("{} {} {} {}\n", entry.part, entry.parameter, entry.first, hash_text(entry.hash));
  return text;
}

// A file in the folder says that its runs are this command's to remove, and its lock that no other process is at it.
File take_folder(const std::string& path) {
  const std::string mark = path + "/verify-resume.lock";
  if (exists(path) && !exists(mark) && (!is_directory(path) || !list_directory(path).empty()))
    bad_input(path, "holds something that verify-resume did not make, and would be in the way: name a folder that is new or empty");
  make_directories(path);
  File file(mark, exists(mark) ? File::Mode::ReadWrite : File::Mode::Create);
  if (::flock(file.descriptor(), LOCK_EX | LOCK_NB) != 0) fail(path, "is in use by another verify-resume: wait for it, or give this one another --run-dir");
  return file;
}

}  // namespace

int run_verify_resume(const VerifyResumeCommand& command) {
  const LoadedRun run = load_run_config(command.config, command.overrides);
  const std::string base = command.run_dir.empty() ? "runs/" + run.config.name + ".verify-resume" : command.run_dir;
  const std::string whole = base + "/whole", killed = base + "/killed";
  const File owned = take_folder(base);
  for (const std::string& path : {whole, killed, whole + ".log", killed + ".log"}) remove_tree(path);

  const Clock::time_point start = Clock::now();
  expect_done(wait_for(start_training(command, whole)), whole);
  double seconds = seconds_since(start);
  log::info("uninterrupted: {} steps in {:.1f} s", run.config.train.steps, seconds);

  std::mt19937_64 random(command.seed ? static_cast<uint64_t>(command.seed) : static_cast<uint64_t>(Clock::now().time_since_epoch().count()));
  int kills = 0;
  // Moments are counted from where a run has something to lose; each start gets part of the whole time, so that progress is made in between.
  while (kills < command.kills) {
    const pid_t child = start_training(command, killed);
    const double moment = seconds * std::uniform_real_distribution<double>(0.1, 0.9)(random);
    const Clock::time_point begin = Clock::now();
    int status = 0;
    pid_t ended = 0;
    while (ended == 0 && seconds_since(begin) < moment) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ended = ::waitpid(child, &status, WNOHANG);
    }
    if (ended == child) {
      expect_done(status, killed);
      if (kills > 0 || seconds < kShortest) break;
      // The machine had less else to do than the first time.
      log::info("the run ended before it could be killed: begins anew, and kills sooner");
      seconds /= 4;
      remove_tree(killed);
      continue;
    }
    ::kill(child, SIGKILL);
    wait_for(child);
    ++kills;
    const std::vector<std::string> saved = list_checkpoints(killed + "/checkpoints");
    log::info("killed after {:.2f} s; newest checkpoint {}", moment, saved.empty() ? "none" : saved.back());
  }
  expect_done(wait_for(start_training(command, killed)), killed);
  if (kills == 0) fail("verify-resume", "the run ended before it could be killed: give it more steps");

  const bool equal = fingerprint(whole) == fingerprint(killed);
  fmt::print("{}: killed {} times and resumed, the run {} the uninterrupted one bit for bit ({} and {})\n", equal ? "holds" : "FAILS", kills,
             equal ? "equals" : "does not equal", whole, killed);
  return equal ? 0 : kExitCheckFailed;
}

}  // namespace gta
