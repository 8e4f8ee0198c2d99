#include "launch/progress.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <cmath>
#include <functional>
#include <set>

#include "tests/launch/small_run.h"

namespace gta {
namespace {

TEST(Progress, ShowsDurationsAndCountsShortly) {
  for (const auto& [seconds, text] : std::vector<std::pair<double, std::string>>{{0, "00:00"},
                                                                                 {72.4, "01:12"},
                                                                                 {3599, "59:59"},
                                                                                 {7384, "2:03:04"},
                                                                                 {NAN, "--:--"},
                                                                                 {INFINITY, "--:--"},
                                                                                 {-1, "--:--"}})
    EXPECT_EQ(duration_text(seconds), text);
  for (const auto& [count, text] : std::vector<std::pair<double, std::string>>{
           {0, "0"}, {950, "950"}, {5100, "5.1k"}, {2.9e6, "2.9M"}, {1.13e9, "1.1G"}, {2e12, "2.0T"}})
    EXPECT_EQ(count_text(count), text);
}

StepReport some_report() {
  StepReport report;
  report.row.step = 120;
  report.steps = 400;
  report.row.loss = 4.2134;
  report.row.learning_rate = 1.9e-3;
  report.row.gradient_norm = 0.84;
  report.row.tokens_per_second = 5100;
  report.row.sol = 0.78;
  report.row.memory_bytes = int64_t{6} << 28;
  report.seconds_left = 72;
  return report;
}

TEST(Progress, TheLineHasWhatIsKnown) {
  StepReport report = some_report();
  EXPECT_EQ(progress_line(report),
            "step 120/400 | loss 4.213 | lr 1.9e-03 | grad 0.84 | 5.1k tok/s | SOL 78% | mem 1.50 GiB | ETA 01:12");
  report.validation_loss = 4.301;
  EXPECT_NE(progress_line(report).find("| loss 4.213 | val 4.301 | lr"), std::string::npos);
}

TEST(Progress, TheLineFitsAndKeepsWhatIsMissedMost) {
  const StepReport report = some_report();
  for (const auto& [columns, line] : std::vector<std::pair<int64_t, std::string>>{
           {96, "step 120/400 | loss 4.213 | lr 1.9e-03 | grad 0.84 | 5.1k tok/s | mem 1.50 GiB | ETA 01:12"},
           {79, "step 120/400 | loss 4.213 | lr 1.9e-03 | grad 0.84 | 5.1k tok/s | ETA 01:12"},
           {60, "step 120/400 | loss 4.213 | 5.1k tok/s | ETA 01:12"},
           {40, "step 120/400 | loss 4.213 | ETA 01:12"},
           {26, "step 120/400 | loss 4.213"},
           {20, "step 120/400"},
           {4, "step"},
           {0, ""}})
    EXPECT_EQ(progress_line(report, columns), line) << columns;
  for (int64_t columns = 0; columns < 130; ++columns)
    EXPECT_LE(static_cast<int64_t>(progress_line(report, columns).size()), columns);
}

// A terminal of which only its rows are kept: what is written goes on in the next one where it does not fit.
class Terminal {
 public:
  explicit Terminal(int columns) : columns_(columns), rows_(1) {}
  void resize(int columns) { columns_ = columns; }
  void write(char c) {
    if (c == '\r') {
      column_ = 0;
    } else if (c == '\n') {
      rows_.emplace_back();
    } else {
      if (column_ == columns_) {
        rows_.emplace_back();
        column_ = 0;
      }
      std::string& row = rows_.back();
      row.resize(std::max<size_t>(row.size(), static_cast<size_t>(column_) + 1), ' ');
      row[static_cast<size_t>(column_++)] = c;
    }
  }
  std::vector<std::string> rows() const {
    std::vector<std::string> filled;
    for (const std::string& row : rows_)
      if (row.find_first_not_of(' ') != std::string::npos) filled.push_back(row);
    return filled;
  }

 private:
  int columns_, column_ = 0;
  std::vector<std::string> rows_;
};

class LiveLine : public SmallRun {
 protected:
  // What `gta train` of 400 steps writes to a terminal, which `resized` may resize after each piece, while the program
  // stands still.
  std::string train_on(const char* kind, unsigned short columns, Terminal& terminal,
                       const std::function<int(const std::string&)>& resized = {}) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = columns;
    int master = -1;
    const pid_t child = forkpty(&master, nullptr, nullptr, &size);
    if (child == 0) {
      kind ? setenv("TERM", kind, 1) : unsetenv("TERM");
      execl(kGta.c_str(), "gta", "train", (folder_ + "/run.yaml").c_str(), "--run-dir", (folder_ + "/run").c_str(),
            "--threads", "1", "--set", "train.steps=400", "--set", "train.checkpoint.every_steps=0", "--set",
            "data.validation=[]", nullptr);
      _exit(127);
    }
    std::string all;
    const auto take = [&] {
      char bytes[256];
      const ssize_t got = read(master, bytes, sizeof bytes);
      for (ssize_t i = 0; i < got; ++i) terminal.write(bytes[i]);
      if (got > 0) all.append(bytes, static_cast<size_t>(got));
      return got > 0;  // an error once the child has ended
    };
    int status = 0;
    while (take()) {
      const int other = resized ? resized(all) : 0;
      if (other == 0) continue;
      kill(child, SIGSTOP);
      if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) break;
      for (pollfd written{master, POLLIN, 0}; poll(&written, 1, 0) > 0 && take();) {
      }
      size.ws_col = static_cast<unsigned short>(other);
      ioctl(master, TIOCSWINSZ, &size);
      terminal.resize(other);
      kill(child, SIGCONT);
    }
    if (!WIFEXITED(status) || status == 0) waitpid(child, &status, 0);
    close(master);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << all;
    return all;
  }
  static int rows_of_steps(const Terminal& terminal) {
    int count = 0, step = 0;
    for (const std::string& row : terminal.rows()) count += sscanf(row.c_str(), "step %d/400", &step) == 1;
    return count;
  }
};

TEST_F(LiveLine, IsOneRowOfAnyTerminal) {
  for (const unsigned short columns : {200, 80, 40, 14}) {
    Terminal terminal(columns);
    remove_tree(folder_ + "/run");
    const std::string all = train_on("xterm-256color", columns, terminal);
    EXPECT_EQ(rows_of_steps(terminal), 1) << columns << "\n" << all;
    EXPECT_EQ(all.find('\033'), std::string::npos) << "no terminal has to understand more than a carriage return";
    EXPECT_NE(all.find("\rstep 1"), std::string::npos) << all;
  }
}

// Each resize may leave the row that stood there.
TEST_F(LiveLine, FitsAfterAResize) {
  Terminal terminal(120);
  std::set<int> done;
  train_on("xterm", 120, terminal, [&](const std::string& all) {
    for (const auto& [step, columns] : {std::pair{50, 60}, {150, 30}, {250, 100}})
      if (all.find("\rstep " + std::to_string(step) + "/400") != std::string::npos && done.insert(step).second)
        return columns;
    return 0;
  });
  EXPECT_EQ(done.size(), 3u);
  EXPECT_LE(rows_of_steps(terminal), 1 + 3);
}

TEST_F(LiveLine, IsPlainLinesOnATerminalThatIsDumb) {
  for (const char* kind : {"dumb", static_cast<const char*>(nullptr)}) {
    Terminal terminal(80);
    remove_tree(folder_ + "/run");
    const std::string all = train_on(kind, 80, terminal);
    EXPECT_EQ(all.find("\rstep "), std::string::npos) << all;
    EXPECT_NE(all.find("\nstep 20/400 | "), std::string::npos) << all;
    EXPECT_EQ(all.find('\033'), std::string::npos) << all;
  }
}

}  // namespace
}  // namespace gta
