// The scripts that start trainings: again after a failure, as several ranks, under SLURM. Mostly with commands in the
// training's place that end as the test wants.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <chrono>
#include <functional>
#include <thread>

#include "core/comm/mpi_transport.h"
#include "core/sanitizer.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

const std::string kLaunch = GTA_SOURCE_DIR "/launch/";

std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

class Scripts : public SmallRun {
 protected:
  // A command in the folder, written in bash.
  std::string command(const std::string& name, const std::string& body) {
    const std::string path = folder_ + "/" + name;
    publish_text(path, "#!/usr/bin/env bash\ncd '" + folder_ + "'\n" + body);
    EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
    return path;
  }
  // What it says goes to out.txt and err.txt.
  pid_t start(const std::string& text) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::signal(SIGINT, SIG_DFL);
      const std::string quiet = "cd " + folder_ + " && exec " + text + " >>out.txt 2>>err.txt </dev/null";
      ::execl("/bin/bash", "bash", "-c", quiet.c_str(), nullptr);
      ::_exit(127);
    }
    return child;
  }
  static int code_of(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int run(const std::string& text) { return code_of(start(text)); }
  int supervise(const std::string& text) { return run(kLaunch + "supervise --wait 0 " + text); }
  std::string read(const std::string& name) {
    return exists(folder_ + "/" + name) ? read_file(folder_ + "/" + name) : "";
  }
  // Until a thing is so, or the child has ended before.
  static void wait_until(pid_t child, const std::function<bool()>& holds) {
    while (!holds()) {
      siginfo_t ended{};
      ASSERT_TRUE(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                  ended.si_pid == 0)
          << "it ended too early";
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  void expect_said(const std::string& part) { EXPECT_NE(errors().find(part), std::string::npos) << errors(); }
};

// Start N of it leaves a checkpoint of step 10 N.
const std::string kGains = "echo \"$@\" >> starts; n=$(wc -l < starts); mkdir -p \"r/checkpoints/step-000000${n}0\"\n";

TEST_F(Scripts, SuperviseStartsAgainWhatGetsOn) {
  command("gains", kGains + "[ $n -lt 3 ] || exit 0; [ $n -lt 2 ] || exit 1; kill -9 $$\n");
  EXPECT_EQ(supervise("--run-dir r ./gains train --fresh x"), 0);
  EXPECT_EQ(read("starts"), "train --fresh x\ntrain x\ntrain x\n") << "--fresh would begin anew each time";
  expect_said("supervise: ended by signal 9 (KILL), at step 10, 10 steps gained: starts again in 0 s\n");
  expect_said("supervise: start 2, at step 10: ./gains train x\n");
  expect_said("supervise: ended by exit code 1, at step 20, 10 steps gained: starts again in 0 s\n");
  expect_said("supervise: done after 3 starts\n");
}

TEST_F(Scripts, SuperviseDoesNotStartAgainWhatGainsNoStep) {
  make_directories(folder_ + "/r/checkpoints/step-00000050");
  make_directories(folder_ + "/r/checkpoints/step-00000090.set-aside");
  command("fails", "echo x >> starts; exit 9\n");
  EXPECT_EQ(supervise("--run-dir r ./fails"), 9);
  EXPECT_EQ(read("starts"), "x\n");
  expect_said("ended by exit code 9, at step 50: no step was gained since its start, so it is not started again\n");
  EXPECT_EQ(supervise("--run-dir r ./absent"), 127);
  // A run that begins anew gains from nothing.
  command("anew", "echo x >> anew_starts; rm -r r; mkdir -p r/checkpoints/step-00000003; exit 9\n");
  EXPECT_EQ(supervise("--run-dir r ./anew --fresh"), 9);
  EXPECT_EQ(read("anew_starts"), "x\nx\n");
}

// The steps that were gained are another start's, on another machine.
TEST_F(Scripts, SuperviseDoesNotStartAgainWhereAnotherStartHasTakenOver) {
  command("gains",
          kGains + "mkdir -p r/run.fence; : > r/run.fence/$((8 + n)); [ $n -lt 3 ] || : > r/run.fence/12; exit 1");
  make_directories(folder_ + "/r/run.fence");
  publish_text(folder_ + "/r/run.fence/8", "");
  EXPECT_EQ(supervise("--run-dir r ./gains x"), 1);
  EXPECT_EQ(read("starts"), "x\nx\nx\n");
  expect_said(
      "ended by exit code 1, at step 30: another start of the run has taken over, so it is not started again\n");
  // What begins anew has the first number of a new folder.
  command("anew",
          "echo x >> anew_starts; rm -r r; mkdir -p r/run.fence r/checkpoints/step-00000003; : > r/run.fence/1; "
          ": > r/run.fence/2; exit 1");
  EXPECT_EQ(supervise("--run-dir r ./anew --fresh"), 1);
  EXPECT_EQ(read("anew_starts"), "x\n");
}

TEST_F(Scripts, SuperviseDoesNotCountTheStepsOfAnotherStartThatLivesOn) {
  make_directories(folder_ + "/r/run.fence");
  publish_text(folder_ + "/r/run.fence/8", "");
  command("is_refused", "echo x >> starts; mkdir -p r/checkpoints/step-00000003; exit 1\n");
  EXPECT_EQ(supervise("--run-dir r ./is_refused"), 1);
  EXPECT_EQ(read("starts"), "x\n");
  expect_said("no step was gained since its start, so it is not started again\n");
}

TEST_F(Scripts, SuperviseWaitsForAnotherProcessThatTrainsInTheFolder) {
  make_directories(folder_ + "/r");
  publish_text(folder_ + "/r/run.lock", "4711");
  command("ends", "echo x >> starts\n");
  const auto waiting_beside = [&](const std::string& seconds) {
    const int lock = ::open((folder_ + "/r/run.lock").c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
    const pid_t child = start(kLaunch + "supervise --wait 0 --in-use " + seconds + " --run-dir r ./ends");
    const std::string said = "supervise: r is in use by process 4711, on this host or another: waits " + seconds + " s";
    wait_until(child, [&] { return errors().find(said) != std::string::npos; });
    return std::pair(child, lock);
  };
  const auto [child, lock] = waiting_beside("600");
  EXPECT_EQ(read("starts"), "");
  ::close(lock);
  EXPECT_EQ(code_of(child), 0);
  EXPECT_EQ(read("starts"), "x\n");
  // Not for longer than it is told, nor after a signal.
  const auto [impatient, held] = waiting_beside("1");
  EXPECT_EQ(code_of(impatient), 0);
  EXPECT_EQ(read("starts"), "x\nx\n");
  ::close(held);
  const auto [stopped, still_held] = waiting_beside("601");
  ::kill(stopped, SIGTERM);
  EXPECT_EQ(code_of(stopped), 75);
  EXPECT_EQ(read("starts"), "x\nx\n");
  ::close(still_held);
}

TEST_F(Scripts, SuperviseStartsABoundedNumberOfTimes) {
  command("gains", kGains + "exit 7\n");
  EXPECT_EQ(supervise("--restarts 2 --run-dir r ./gains x"), 7);
  EXPECT_EQ(read("starts"), "x\nx\nx\n");
  expect_said("it was started again 2 times, which is enough\n");
}

TEST_F(Scripts, SupervisePassesOnWhatIsNoFailure) {
  for (int code : {0, 2, 75, 130}) {
    command("ends", kGains + "exit " + std::to_string(code) + "\n");
    remove_tree(folder_ + "/starts");
    EXPECT_EQ(supervise("--run-dir r ./ends x"), code);
    EXPECT_EQ(read("starts"), "x\n") << code;
  }
}

TEST_F(Scripts, ASignalToSuperviseReachesTheTrainingAndEndsBoth) {
  // It saves, and ends well or not.
  command("saves",
          "trap 'mkdir -p r/checkpoints/step-00000099; exit '$1 USR1\n: > begun\nwhile :; do sleep 0.01; done\n");
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1})
    for (int code : {75, 1}) {
      remove_tree(folder_ + "/begun");
      remove_tree(folder_ + "/r");
      const pid_t child = start(kLaunch + "supervise --run-dir r ./saves " + std::to_string(code));
      wait_until(child, [&] { return exists(folder_ + "/begun"); });
      ::kill(child, signal);
      EXPECT_EQ(code_of(child), code) << "signal " << signal;
      EXPECT_TRUE(exists(folder_ + "/r")) << "signal " << signal;
    }
  expect_said("ended by exit code 1, at step 99, after supervise was told to end\n");
  // While it waits there is nothing to save.
  remove_tree(folder_ + "/r");
  command("gains", kGains + "exit 7\n");
  const pid_t child = start(kLaunch + "supervise --wait 600 --run-dir r ./gains x");
  wait_until(child, [&] { return errors().find("starts again in 600 s") != std::string::npos; });
  ::kill(child, SIGTERM);
  EXPECT_EQ(code_of(child), 75);
}

TEST_F(Scripts, SuperviseFindsTheRunsFolder) {
  publish_text(folder_ + "/quoted.yaml", "name: \"a b\"  # of the run\nmodel: {}\n");
  publish_text(folder_ + "/hash.yaml", "name: a#b # of the run\n");
  publish_text(folder_ + "/nameless.yaml", "# name: none\nmodel: {}\n");
  make_directories(folder_ + "/sub");
  publish_text(folder_ + "/sub/based.yaml", "include: '../more.yaml'  # the rest\ntrain: {}\n");
  publish_text(folder_ + "/more.yaml", "include: " + folder_ + "/run.yaml\n");
  publish_text(folder_ + "/renamed.yaml", "include: run.yaml\nname: other\n");
  command("fails", "exit 9\n");
  for (const auto& [arguments, folder] : std::vector<std::pair<std::string, std::string>>{
           {"./fails train run.yaml", "runs/tiny"},
           {"./fails train quoted.yaml --device cpu", "runs/a b"},
           {"./fails train run.yaml --set name=x --set train.steps=3", "runs/x"},
           {"./fails 2 run.yaml --set=name=y", "runs/y"},
           {"./fails train run.yaml --run-dir there --set name=x", "there"},
           {"./fails train hash.yaml", "runs/a#b"},
           {"./fails train sub/based.yaml", "runs/tiny"},
           {"./fails train renamed.yaml", "runs/other"},
           {"./fails train nameless.yaml --run-dir=there", "there"},
           {"--run-dir here ./fails train run.yaml --run-dir there", "here"}}) {
    make_directories(folder_ + "/" + folder + "/checkpoints/step-00000012");
    remove_tree(folder_ + "/err.txt");
    EXPECT_EQ(supervise(arguments), 9) << arguments;
    expect_said("ended by exit code 9, at step 12: ");
    remove_tree(folder_ + "/" + folder);
  }
}

TEST_F(Scripts, SuperviseSaysWhatIsWrongWithItsArguments) {
  publish_text(folder_ + "/circle.yaml", "include: circle.yaml\n");
  for (const auto& [arguments, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "expected a command: launch/supervise gta train CONFIG"},
           {"gta train absent.yaml",
            "the run's folder cannot be told from 'gta train absent.yaml': give --run-dir DIR"},
           {"gta train circle.yaml", "the run's folder cannot be told from 'gta train circle.yaml'"},
           {"--restarts many gta", "--restarts: expected a whole number, got 'many'"},
           {"--restarts", "--restarts needs a value"},
           {"--forever gta",
            "expected --restarts, --wait, --in-use or --run-dir before the command, got '--forever'"}}) {
    EXPECT_EQ(supervise(arguments), 2) << arguments;
    expect_said("gta: error: " + part);
  }
  EXPECT_EQ(run(kLaunch + "supervise --help"), 0);
  EXPECT_NE(read("out.txt").find("--restarts     at most so many (10)\n"), std::string::npos);
}

TEST_F(Scripts, ASupervisedTrainingThatIsKilledEndsAsIfItWasNot) {
  const std::string train = kGta +
                            " train run.yaml --device cpu --set train.steps=60 --set "
                            "train.checkpoint.every_steps=1 --set data.validation=[] --run-dir ";
  ASSERT_EQ(run(train + "whole"), 0) << errors();
  const pid_t child = start(kLaunch + "supervise --wait 0 " + train + "killed");
  wait_until(child, [&] { return exists(folder_ + "/killed/checkpoints/step-00000003"); });
  ::kill(static_cast<pid_t>(std::stol(read("killed/run.lock"))), SIGKILL);
  EXPECT_EQ(code_of(child), 0) << errors();
  expect_said("ended by signal 9 (KILL), at step ");
  EXPECT_EQ(weights("killed"), weights("whole"));
  EXPECT_EQ(supervise(kGta + " train run.yaml --set train.setps=3"), 2);
}

// ---- several ranks of this machine

class Local : public Scripts {
 protected:
  void SetUp() override {
    if (!has_mpi()) GTEST_SKIP() << "a build without MPI";
    if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "MPI's library leaks and races";
    Scripts::SetUp();
    if (run("bash -c 'mpirun --version | grep -q \"Open MPI\"'") != 0) GTEST_SKIP() << "Open MPI's mpirun is not here";
    ::setenv("GTA", kGta.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("GTA");
    if (!folder_.empty()) Scripts::TearDown();
  }
};

TEST_F(Local, StartsRanksThatTrainTogether) {
  EXPECT_EQ(run(kLaunch + "local 2 run.yaml --device cpu --run-dir r --set train.steps=3"), 0) << errors();
  EXPECT_TRUE(exists(folder_ + "/r/checkpoints/step-00000003/rank-0001-of-0002.h5")) << errors();
  expect_said("ranks    2 on 1 host");
  EXPECT_EQ(run(kLaunch + "local 3 run.yaml --device cpu --run-dir r"), 2);
  expect_said("4 is no multiple of 3 ranks");
}

TEST_F(Local, ATrainingThatIsAskedToStopSavesAndGoesOn) {
  const std::string train = kLaunch +
                            "local 2 run.yaml --device cpu --run-dir r --set data.validation=[] --set "
                            "train.checkpoint.every_steps=2 --set train.micro_batch_size=1 --set train.steps=";
  for (int signal : {SIGTERM, SIGINT}) {
    const std::string steps = read("r/last_checkpoint.json");
    const pid_t child = start(train + "1000000");
    wait_until(child,
               [&] { return !read("r/last_checkpoint.json").empty() && read("r/last_checkpoint.json") != steps; });
    ::kill(child, signal);
    EXPECT_EQ(code_of(child), 75) << errors();
  }
  expect_said("resumes  r/checkpoints/step-");
}

// Stand-ins: the ranks' codes come out, and a second Ctrl-C does not wait for a save.
TEST_F(Local, PassesOnHowTheRanksEnd) {
  ::setenv("GTA", command("rank", "[ \"$*\" = 'train a b' ] || exit 4\nexit 3\n").c_str(), 1);
  EXPECT_EQ(run(kLaunch + "local 5 a b"), 3) << "more ranks than cores, too";
  ::setenv("GTA", command("rank", "[ $OMPI_COMM_WORLD_RANK = 0 ] || kill -9 $$\nsleep 600\n").c_str(), 1);
  EXPECT_EQ(run(kLaunch + "local 2 a b"), 137);
  ::setenv("GTA",
           command("rank", "trap : USR1\n: > begun$OMPI_COMM_WORLD_RANK\nwhile :; do sleep 0.01; done\n").c_str(), 1);
  const pid_t child = start(kLaunch + "local 2 a b");
  wait_until(child, [&] { return exists(folder_ + "/begun0") && exists(folder_ + "/begun1"); });
  ::kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // two within a second are one
  ::kill(child, SIGINT);
  EXPECT_EQ(code_of(child), 130) << errors();
}

// A key that bounces, or a terminal and a script that both send what was typed. The rank saves for longer than mpirun
// gives one that it ends.
TEST_F(Local, TwoInterruptsWithinASecondAreOne) {
  ::setenv(
      "GTA",
      command("rank", "trap 'sleep 4; : > saved; exit 75' USR1\n: > begun\nwhile :; do sleep 0.01; done\n").c_str(), 1);
  const pid_t child = start(kLaunch + "local 1 a b");
  wait_until(child, [&] { return exists(folder_ + "/begun"); });
  ::kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ::kill(child, SIGINT);
  EXPECT_EQ(code_of(child), 75) << errors();
  EXPECT_TRUE(exists(folder_ + "/saved"));
}

// Nobody would know of ranks that go on, whose lock keeps the next start out.
TEST_F(Local, WhereTheScriptIsKilledTheTrainingSavesAndEnds) {
  if (run("setpriv --pdeathsig USR1 true") != 0) GTEST_SKIP() << "there is no setpriv here";
  const pid_t child = start("env GTA=" + kGta + " " + kLaunch +
                            "local 2 run.yaml --device cpu --run-dir r --set train.steps=1000000 --set "
                            "train.checkpoint.every_steps=0 --set train.micro_batch_size=1");
  wait_until(child, [&] { return exists(folder_ + "/r/metrics.jsonl") && !read("r/metrics.jsonl").empty(); });
  ::kill(child, SIGKILL);
  EXPECT_EQ(code_of(child), 128 + SIGKILL);
  EXPECT_EQ(run("flock r/run.lock true"), 0);
  EXPECT_FALSE(read("r/last_checkpoint.json").empty()) << errors();
}

TEST_F(Local, FewOpenFilesAreRaisedOrRefusedAndNeverMakeItHang) {
  const std::string train = kLaunch + "local 2 run.yaml --device cpu --run-dir r --set train.steps=2";
  EXPECT_EQ(run("bash -c 'ulimit -Sn 24; exec env GTA=" + kGta + " " + train + "'"), 0) << errors();
  EXPECT_EQ(run("bash -c 'ulimit -n 24; exec env GTA=" + kGta + " " + train + "'"), 2);
  expect_said("2 ranks need 96 open files, 24 are allowed: raise the limit (ulimit -n)");
}

// Paths with spaces, and what a shell would read otherwise.
TEST_F(Local, TheCommandThatItNamesCanBePasted) {
  ::setenv("GTA", command("a rank", "[ \"$*\" = 'train a b [c] d' ] || exit 4\nexit 7\n").c_str(), 1);
  EXPECT_EQ(run(kLaunch + "local 1 a 'b [c]' d"), 7);
  const std::string marker = "is left out, but for: ", text = errors();
  const size_t at = text.find(marker);
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_EQ(run("bash -c " + shell_quoted(text.substr(at + marker.size()))), 7) << text;
}

TEST_F(Local, SaysWhatIsWrongWithItsArguments) {
  for (const char* arguments : {"", "2", "0 run.yaml", "many run.yaml", "-2 run.yaml"})
    EXPECT_EQ(run(kLaunch + "local " + arguments), 2) << arguments;
  expect_said("expected a number of ranks, 1 to 9999, got 'many'");
  ::setenv("GTA", "/absent", 1);
  EXPECT_EQ(run(kLaunch + "local 2 run.yaml"), 2);
  expect_said("no program at '/absent'");
  ::setenv("MPIRUN", "/bin/true", 1);
  ::setenv("GTA", kGta.c_str(), 1);
  EXPECT_EQ(run(kLaunch + "local 2 run.yaml"), 2);
  ::unsetenv("MPIRUN");
  expect_said("expected Open MPI's mpirun (Debian: openmpi-bin), found 'true ");
  ::setenv("MPIRUN", "/absent", 1);
  EXPECT_EQ(run(kLaunch + "local 2 run.yaml"), 2);
  expect_said("expected Open MPI's mpirun (Debian: openmpi-bin), found '/absent, which does not start'");
  ::unsetenv("MPIRUN");
  ::setenv("GTA", folder_.c_str(), 1);
  EXPECT_EQ(run(kLaunch + "local 2 run.yaml"), 2);
  expect_said("no program at '" + folder_ + "'");
  ::unsetenv("GTA");
}

// Inside of an allocation mpirun would go to its machines, and where it cannot, end without a word.
TEST_F(Local, TrainsHereAlsoWhereABatchSystemHasGivenOtherMachines) {
  EXPECT_EQ(
      run("env GTA=" + kGta +
          " SLURM_JOB_ID=77 SLURM_JOBID=77 SLURM_NTASKS=2 SLURM_NODELIST='node[1-2]' SLURM_JOB_NODELIST='node[1-2]' "
          "SLURM_NNODES=2 SLURM_JOB_NUM_NODES=2 'SLURM_TASKS_PER_NODE=1(x2)' " +
          kLaunch + "local 2 run.yaml --device cpu --run-dir r --set train.steps=2 --set train.micro_batch_size=1"),
      0)
      << errors();
  EXPECT_TRUE(exists(folder_ + "/r/checkpoints/step-00000002"));
}

TEST_F(Local, WhatTheCallerHasClosedStopsNothing) {
  EXPECT_EQ(
      run("bash -c 'env GTA=" + kGta + " " + kLaunch +
          "local 2 run.yaml --device cpu --run-dir r --set train.steps=20 --set train.micro_batch_size=1 >&- 2>&-'"),
      0);
  EXPECT_TRUE(exists(folder_ + "/r/checkpoints/step-00000020"));
}

// Saved is saved: whoever starts again at 75 goes by it.
TEST_F(Local, SeveralSignalsEndWithTheCodeOfTheSave) {
  const pid_t child = start("env GTA=" + kGta + " " + kLaunch +
                            "local 2 run.yaml --device cpu --run-dir r --set train.steps=1000000 --set "
                            "train.checkpoint.every_steps=0 --set train.micro_batch_size=1");
  wait_until(child, [&] { return exists(folder_ + "/r/metrics.jsonl") && !read("r/metrics.jsonl").empty(); });
  for (int signal : {SIGUSR1, SIGTERM, SIGTERM}) {
    ::kill(child, signal);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(code_of(child), 75) << errors();
}

// Tasks of srun without --mpi, and of a launcher that belongs to another MPI: each would train by itself.
TEST_F(Scripts, ProcessesThatCannotFindEachOtherAreRefused) {
  const std::string alone = "env -u PMIX_RANK -u PMI_RANK ",
                    train = " " + kGta + " train run.yaml --device cpu --run-dir r --set train.steps=3";
  for (const char* task : {"0", "1"}) {
    EXPECT_EQ(run(alone + "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=" + task + train), 2);
    expect_said("[srun] started 2 processes that cannot find each other: give it --mpi=pmix");
  }
  if (has_mpi() && !kAddressSanitizer) {  // of which MPI's library leaks
    EXPECT_EQ(run(alone + "PMI_RANK=1 PMI_SIZE=2" + train), 2);
    expect_said("[mpirun] started 2 processes, of which 1 found each other: it has to be that of ");
  }
  EXPECT_FALSE(exists(folder_ + "/r"));
  // The batch script itself, and a shell that srun opened.
  EXPECT_EQ(run(alone + "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0" + train), 0);
  EXPECT_EQ(run(alone + "SLURM_JOB_ID=7 SLURM_NTASKS=2 SLURM_PROCID=0" + train), 0);
}

// ---- under SLURM, of which only the commands are here

TEST_F(Scripts, TheJobIsQueuedAgainAfterASaveAndNeverWhenItWasCancelled) {
  make_directories(folder_ + "/bin");
  command("bin/srun", "echo \"$@\" > srun_arguments; exit \"$SRUN_CODE\"\n");
  command("bin/scontrol", "echo \"$@\" >> asked\n[ \"$1\" != show ] || echo \"JobState=$JOB_STATE\"\n");
  const std::string job =
      "env PATH=" + folder_ + "/bin:$PATH SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n SLURM_CPUS_PER_TASK=3 ";
  const auto asked_of = [&](int code, const std::string& state) {
    remove_tree(folder_ + "/asked");
    EXPECT_EQ(run(fmt::format("{} SRUN_CODE={} JOB_STATE='{}' bash -c 'cd {} && exec bash launch/slurm/train.sbatch'",
                              job, code, state, GTA_SOURCE_DIR)),
              code)
        << errors();
    return read("asked");
  };
  const std::string again = "show job 7\nrequeue 7\n", not_again = "show job 7\n";
  EXPECT_EQ(asked_of(75, "RUNNING Reason=None"), again);
  EXPECT_EQ(asked_of(75, "COMPLETING Reason=TimeLimit"), again);
  EXPECT_EQ(asked_of(75, "COMPLETING Reason=None"), not_again) << "cancelled, or queued again by SLURM";
  EXPECT_EQ(asked_of(0, "RUNNING Reason=None"), "");
  EXPECT_EQ(asked_of(2, "RUNNING Reason=None"), "");
  EXPECT_EQ(asked_of(1, "RUNNING Reason=None"), "");
  EXPECT_EQ(read("srun_arguments"), "--kill-on-bad-exit=1 --mpi=pmix --cpus-per-task=3 " GTA_SOURCE_DIR
                                    "/build/release/bin/gta train configs/runs/gta1-160m.yaml\n");
}

}  // namespace
}  // namespace gta
