// gta ablate, as a program: what a kill, a signal, a failing cell and a changed file leave.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "launch/metrics.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class Ablate : public SmallRun {
 protected:
  void SetUp() override {
    SmallRun::SetUp();
    write(2, "");
  }
  // Two variants; `more` are further lines of the file.
  void write(int seeds, const std::string& more) {
    publish_text(folder_ + "/ablation.yaml", "name: abc\nbase: run.yaml\nbaseline: gqa\nseeds: [1" +
                                                 std::string(seeds > 1 ? ", 2" : "") +
                                                 "]\n"
                                                 "variants:\n  gqa: {model.attention.type: gqa}\n"
                                                 "  gta: {model.attention.type: gta}\n" +
                                                 more);
  }
  std::string command(const std::string& run, const std::string& more = "") {
    return "ablate " + folder_ + "/ablation.yaml --run-dir " + folder_ + "/" + run + " " + more;
  }
  int ablate(const std::string& run, const std::string& more = "") { return gta(command(run, more)); }
  std::string output() { return read_file(folder_ + "/out.txt"); }
  std::string weights_of_cells(const std::string& run) {
    std::string text;
    for (const char* cell : {"gqa-seed-1", "gta-seed-1", "gqa-seed-2", "gta-seed-2"})
      text += weights(run + "/cells/" + cell + "/checkpoints") + "\n";
    return text;
  }
  // Of `gta ablate` in the background.
  pid_t start(const std::string& run, const std::string& more = "") {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGINT, SIG_DFL);
      execl(
          "/bin/sh", "sh", "-c",
          ("exec " + kGta + " " + command(run, more) + " >>" + folder_ + "/out.txt 2>>" + folder_ + "/err.txt").c_str(),
          nullptr);
      _exit(127);
    }
    return child;
  }
  static int wait(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return status;
  }
  // Until a cell has a row of this step.
  void wait_for_step(const std::string& cell, int64_t step) {
    for (bool there = false; !there; std::this_thread::sleep_for(std::chrono::milliseconds(5)))
      for (const MetricsRow& row : read_metrics(folder_ + "/" + cell + "/metrics.jsonl"))
        there = there || step_of(row) >= step;
  }
};

TEST_F(Ablate, RunsItsCellsOnceAndTakesMoreSeedsLater) {
  write(1, "");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const std::string rows = read_file(folder_ + "/a/cells/gta-seed-1/metrics.jsonl");
  ASSERT_EQ(ablate("a"), 0) << errors();
  write(2, "");
  ASSERT_EQ(ablate("a", "--jobs 2"), 0) << errors();
  EXPECT_EQ(read_file(folder_ + "/a/cells/gta-seed-1/metrics.jsonl"), rows);
  EXPECT_TRUE(exists(folder_ + "/a/cells/gta-seed-2/checkpoints/latest"));
  // A cell is what `gta train` makes of its file.
  ASSERT_EQ(gta("train " + folder_ + "/a/configs/gta-seed-2.yaml --run-dir " + folder_ + "/alone"), 0) << errors();
  EXPECT_EQ(weights("alone"), weights("a/cells/gta-seed-2"));
}

TEST_F(Ablate, KilledAndStartedAgainEndsWithTheSameWeights) {
  ASSERT_EQ(ablate("whole"), 0) << errors();
  for (int64_t step : {2, 7}) {
    const std::string run = "killed-" + std::to_string(step);
    const pid_t child = start(run, "--set train.steps=12");
    wait_for_step(run + "/cells/gta-seed-1", step);
    kill(child, SIGKILL);
    wait(child);
    ASSERT_EQ(ablate(run), 0) << errors();
    EXPECT_EQ(weights_of_cells(run), weights_of_cells("whole")) << step;
  }
}

TEST_F(Ablate, ASignalSavesItsCellsAndTheSameCommandGoesOn) {
  const pid_t child = start("a", "--set train.steps=3000 --set train.checkpoint.every_steps=0");
  wait_for_step("a/cells/gqa-seed-1", 2);
  kill(child, SIGTERM);
  const int status = wait(child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 75);
  EXPECT_TRUE(exists(folder_ + "/a/cells/gqa-seed-1/checkpoints/latest"));
  EXPECT_FALSE(exists(folder_ + "/a/cells/gta-seed-1"));
  ASSERT_EQ(ablate("a", "--status --set train.steps=3000"), 0);
  EXPECT_NE(output().find("interrupted"), std::string::npos) << output();
}

TEST_F(Ablate, AFailedCellStopsNoOtherIsShownAndTriedAgainWhereAskedTo) {
  // Its folder is a file.
  ASSERT_EQ(std::system(("mkdir -p " + folder_ + "/a/cells && touch " + folder_ + "/a/cells/gqa-seed-1").c_str()), 0);
  EXPECT_EQ(ablate("a"), 1);
  EXPECT_TRUE(exists(folder_ + "/a/cells/gta-seed-2/checkpoints/latest"));
  EXPECT_TRUE(exists(folder_ + "/a/failed/gqa-seed-1.txt"));
  EXPECT_NE(output().find("3 of 4 done, 1 failed"), std::string::npos) << output();
  unlink((folder_ + "/a/cells/gqa-seed-1").c_str());
  EXPECT_EQ(ablate("a"), 1);  // stays failed
  EXPECT_FALSE(exists(folder_ + "/a/cells/gqa-seed-1"));
  EXPECT_EQ(ablate("a", "--retry-failed"), 0) << errors();
  EXPECT_FALSE(exists(folder_ + "/a/failed/gqa-seed-1.txt"));
}

TEST_F(Ablate, CellsOfAnotherConfigurationAreRefusedBeforeAnythingIsWritten) {
  write(1, "");
  ASSERT_EQ(ablate("a", "--set train.steps=4"), 0) << errors();
  const std::string before = read_file(folder_ + "/a/configs/gqa-seed-1.yaml");
  EXPECT_EQ(ablate("a", "--set train.steps=4 --set optimizer.learning_rate=3.0e-3"), 2);
  EXPECT_NE(
      errors().find("a/cells/gqa-seed-1] is there with another configuration: optimizer.learning_rate: 0.01 there, "
                    "0.003 here"),
      std::string::npos)
      << errors();
  EXPECT_EQ(read_file(folder_ + "/a/configs/gqa-seed-1.yaml"), before);
  // What changes no training may be another.
  EXPECT_EQ(ablate("a", "--set train.steps=4 --set train.log_every_steps=1"), 0) << errors();
}

TEST_F(Ablate, OnlyOneProcessRunsAnAblation) {
  const pid_t child = start("a", "--set train.steps=3000");
  wait_for_step("a/cells/gqa-seed-1", 1);
  EXPECT_EQ(ablate("a", "--set train.steps=3000"), 1);
  EXPECT_NE(errors().find("another process runs this ablation"), std::string::npos) << errors();
  kill(child, SIGTERM);
  wait(child);
}

TEST_F(Ablate, ADryRunAndAStatusWriteNothing) {
  EXPECT_EQ(ablate("a", "--dry-run --price 2"), 0) << errors();
  EXPECT_EQ(ablate("a", "--status"), 0) << errors();
  EXPECT_FALSE(exists(folder_ + "/a"));
  EXPECT_NE(output().find("4 cells (2 seeds)"), std::string::npos) << output();
  EXPECT_NE(output().find("0 of 4 done, 4 waiting"), std::string::npos) << output();
}

TEST_F(Ablate, ASearchGivesEachVariantAsManyTrialsAndItsBestValue) {
  write(1, "tune: {keys: {optimizer.learning_rate: [1.0e-6, 1.0e-2, 1.1e-2]}, seeds: [9], steps: 6}\n");
  ASSERT_EQ(ablate("a"), 0) << errors();
  std::string count;
  for (const std::string& name : list_directory(folder_ + "/a/trials/cells")) count += name.substr(0, 3) + " ";
  EXPECT_EQ(count.size() % 8, 0u) << count;  // as many of gqa as of gta
  const std::string config = read_file(folder_ + "/a/cells/gqa-seed-1/config.yaml");
  EXPECT_EQ(config.find("learning_rate: 1e-06"), std::string::npos) << config;
}

// What the file itself has its variants differ in is what is compared, also outside of the model.
TEST_F(Ablate, VariantsMayDifferInWhateverTheFileSays) {
  publish_text(folder_ + "/ablation.yaml",
               "name: abc\nbase: run.yaml\nbaseline: a\nseeds: [1, 2]\n"
               "set: {train.steps: 4, model.attention.type: gqa}\nvariants:\n"
               "  a: {}\n  b: {optimizer.weight_decay: 0.0}\n"
               "  c: {optimizer.weight_decay: 0.0, model.layers: 1}\n");
  ASSERT_EQ(ablate("a"), 0) << errors();
  EXPECT_NE(read_file(folder_ + "/a/report/report.json").find("\"fair\":true"), std::string::npos) << output();
}

TEST_F(Ablate, EachCellIsTestedOnceAtItsEnd) {
  write(1, "test: [shards/train-*.h5]\n");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const std::string test = read_file(folder_ + "/a/cells/gta-seed-1/test.json");
  EXPECT_NE(test.find("\"loss\":"), std::string::npos) << test;
}

TEST_F(Ablate, AnotherTestSetIsEvaluatedAnew) {
  write(1, "test: [shards/train-*.h5]\n");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const std::string before = read_file(folder_ + "/a/cells/gta-seed-1/test.json");
  ASSERT_EQ(ablate("a"), 0) << errors();
  EXPECT_EQ(read_file(folder_ + "/a/cells/gta-seed-1/test.json"), before);
  write(1, "test: [shards/documents-*.h5]\n");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const auto after = nlohmann::json::parse(read_file(folder_ + "/a/cells/gta-seed-1/test.json"));
  EXPECT_NE(after["loss"], nlohmann::json::parse(before)["loss"]);
  const auto report = nlohmann::json::parse(read_file(folder_ + "/a/report/report.json"));
  EXPECT_EQ(report["test"]["gta"]["loss"]["values"]["1"], after["loss"]);
}

TEST_F(Ablate, AReportThatCannotBeWrittenStopsNoOther) {
  write(1, "sizes: {one: {model.layers: 1}, two: {model.layers: 2}, three: {model.layers: 3}}\n");
  // Of one size the baseline fails; in the report's folder of another one stands what no report wrote.
  ASSERT_EQ(std::system(("mkdir -p " + folder_ + "/a/cells " + folder_ + "/a/report-one && touch " + folder_ +
                         "/a/cells/gqa-three-seed-1 " + folder_ + "/a/report-one/mine.txt")
                            .c_str()),
            0);
  EXPECT_EQ(ablate("a"), 1);
  EXPECT_TRUE(exists(folder_ + "/a/report-two/report.html")) << errors();
  EXPECT_TRUE(exists(folder_ + "/a/report-one/mine.txt"));
  EXPECT_FALSE(exists(folder_ + "/a/report-three"));
  for (const char* said :
       {"report-one cannot be written: ", "report-three is not written: no cell of the baseline gqa"})
    EXPECT_NE(errors().find(said), std::string::npos) << errors();
}

TEST_F(Ablate, ACellThatAnotherProcessFinishesMeanwhileIsNotTestedUnasked) {
  write(1, "");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const std::string cell = folder_ + "/a/cells/gqa-seed-1", other = folder_ + "/running";
  make_directories(other);
  const int lock = open((other + "/run.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  const auto exchange = [&] {
    ASSERT_EQ(renameat2(AT_FDCWD, cell.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE), 0);
  };
  exchange();  // now another process seems to train there
  const pid_t child = start("a");
  while (errors().find("1 of 2 cells are done") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  exchange();  // and has ended
  EXPECT_EQ(wait(child), 0) << errors();
  close(lock);
  EXPECT_FALSE(exists(cell + "/test.json"));
}

TEST_F(Ablate, WhyACellFailedIsTakenFromItsLastStart) {
  write(1, "");
  make_directories(folder_ + "/a/output");
  publish_text(folder_ + "/a/output/gqa-seed-1.txt", "gta: error: old trouble\n");
  const pid_t child = start("a", "--set train.steps=3000");
  wait_for_step("a/cells/gqa-seed-1", 1);
  const std::string id = std::to_string(child);
  pid_t trains = 0;
  ASSERT_TRUE(std::ifstream("/proc/" + id + "/task/" + id + "/children") >> trains);
  kill(trains, SIGKILL);
  while (!exists(folder_ + "/a/failed/gqa-seed-1.txt")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(child, SIGTERM);
  wait(child);
  const std::string reason = read_file(folder_ + "/a/failed/gqa-seed-1.txt");
  EXPECT_TRUE(reason.starts_with("ended by signal 9")) << reason;
  EXPECT_EQ(reason.find("old trouble"), std::string::npos) << reason;
}

TEST_F(Ablate, AReasonThatCannotBeReadDoesNotHideTheOtherCells) {
  make_directories(folder_ + "/a/failed");
  publish_text(folder_ + "/a/failed/gqa-seed-1.txt", std::string(20'000, 'x'));
  EXPECT_EQ(ablate("a", "--status"), 0) << errors();
  EXPECT_NE(output().find("0 of 4 done, 1 failed, 3 waiting"), std::string::npos) << output();
}

TEST_F(Ablate, ACellThatCannotBeReadIsShownAsFailedTheOthersGoOnAndNothingThereIsTouched) {
  write(1, "");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const std::string cell = folder_ + "/a/cells/gta-seed-1", config = cell + "/config.yaml";
  const std::string whole = read_file(config), damaged = whole.substr(0, whole.size() / 2) + "\n\t{: [";
  publish_text(config, damaged);
  const std::string rows = read_file(cell + "/metrics.jsonl"), before = weights("a/cells/gta-seed-1");
  write(2, "");
  for (const char* retry : {"", "--retry-failed"}) {
    EXPECT_EQ(ablate("a", retry), 1) << errors();
    EXPECT_EQ(read_file(config), damaged);
    EXPECT_EQ(read_file(cell + "/metrics.jsonl"), rows);
    EXPECT_EQ(weights("a/cells/gta-seed-1"), before);
  }
  EXPECT_TRUE(exists(folder_ + "/a/cells/gta-seed-2/checkpoints/latest")) << errors();
  EXPECT_NE(output().find("3 of 4 done, 1 failed"), std::string::npos) << output();
  const std::string advice = "nothing is changed there: put it right, or move " + cell + " away to train it anew";
  for (const std::string& said : {config + ":", advice})
    EXPECT_NE(output().find(said), std::string::npos) << said << "\n" << output();
  EXPECT_NE(errors().find(advice), std::string::npos) << "and when it begins, not at its end alone: " << errors();
  publish_text(config, whole);
  EXPECT_EQ(ablate("a"), 0) << "put right, nothing else has to be said: " << errors();
  publish_text(config, damaged);
  ASSERT_EQ(rename(cell.c_str(), (folder_ + "/away").c_str()), 0);
  EXPECT_EQ(ablate("a"), 0) << errors();
  EXPECT_EQ(weights("a/cells/gta-seed-1"), before);
}

TEST_F(Ablate, ATrialThatCannotBeReadEndsTheSearchWithWhatToDo) {
  write(1, "tune: {keys: {optimizer.learning_rate: [1.0e-6, 1.0e-2, 1.1e-2]}, seeds: [9], steps: 6}\n");
  ASSERT_EQ(ablate("a"), 0) << errors();
  const std::string trials = folder_ + "/a/trials/cells", trial = trials + "/" + list_directory(trials).front(),
                    cell = read_file(folder_ + "/a/cells/gqa-seed-1/config.yaml");
  publish_text(trial + "/config.yaml", "no: [configuration");
  EXPECT_EQ(ablate("a"), 2);
  EXPECT_NE(errors().find("or move " + trial + " away to train it anew"), std::string::npos) << errors();
  EXPECT_EQ(read_file(folder_ + "/a/cells/gqa-seed-1/config.yaml"), cell);
}

// As where runs lie on a disk of their own.
TEST_F(Ablate, ACellIsTrainedBehindItsLinkAndNothingIsMadeWhereItLeadsNowhere) {
  write(1, "");
  const std::string disk = folder_ + "/disk", link = folder_ + "/a/cells/gta-seed-1";
  make_directories(folder_ + "/a/cells");
  ASSERT_EQ(symlink((disk + "/gta").c_str(), link.c_str()), 0);
  make_directories(disk);
  EXPECT_EQ(ablate("a"), 1);
  EXPECT_TRUE(list_directory(disk).empty());
  EXPECT_TRUE(exists(folder_ + "/a/cells/gqa-seed-1/checkpoints/latest")) << errors();
  EXPECT_NE(errors().find(link + "] is a link to " + disk + "/gta, where nothing is"), std::string::npos) << errors();
  make_directories(disk + "/gta");
  EXPECT_EQ(ablate("a"), 0) << errors();
  EXPECT_TRUE(exists(disk + "/gta/checkpoints/latest"));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

TEST_F(Ablate, ACellThatAnotherProcessTrainsIsWaitedForAndWhoHoldsItIsSaidOnce) {
  write(1, "");
  const std::string cell = folder_ + "/a/cells/gqa-seed-1";
  make_directories(cell);
  publish_text(cell + "/run.lock", "4711");
  const int lock = open((cell + "/run.lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  const pid_t child = start("a");
  const std::string said = "gqa-seed-1 is waited for: process 4711, on this host or another, trains in " + cell;
  while (!exists(folder_ + "/a/cells/gta-seed-1/checkpoints/latest"))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // it looks again ten times a second
  close(lock);
  EXPECT_EQ(wait(child), 0) << errors();
  EXPECT_NE(errors().find(said), std::string::npos) << errors();
  EXPECT_EQ(errors().find(said), errors().rfind(said)) << errors();
}

TEST_F(Ablate, OneCellNeedsNothingBefore) {
  ASSERT_EQ(ablate("a", "--cell gta-seed-2"), 0) << errors();
  EXPECT_TRUE(exists(folder_ + "/a/cells/gta-seed-2/checkpoints/latest"));
  EXPECT_FALSE(exists(folder_ + "/a/cells/gqa-seed-1"));
}

}  // namespace
}  // namespace gta
