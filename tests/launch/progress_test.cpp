#include "launch/progress.h"

#include <gtest/gtest.h>

#include <cmath>

namespace gta {
namespace {

TEST(Progress, ShowsDurationsAndCountsShortly) {
  for (const auto& [seconds, text] : std::vector<std::pair<double, std::string>>{
           {0, "00:00"}, {72.4, "01:12"}, {3599, "59:59"}, {7384, "2:03:04"}, {NAN, "--:--"}, {INFINITY, "--:--"}, {-1, "--:--"}})
    EXPECT_EQ(duration_text(seconds), text);
  for (const auto& [count, text] : std::vector<std::pair<double, std::string>>{
           {0, "0"}, {950, "950"}, {5100, "5.1k"}, {2.9e6, "2.9M"}, {1.13e9, "1.1G"}, {2e12, "2.0T"}})
    EXPECT_EQ(count_text(count), text);
}

TEST(Progress, TheLineHasWhatIsKnown) {
  StepReport report;
  report.step = 120;
  report.steps = 400;
  report.loss = 4.2134;
  report.learning_rate = 1.9e-3;
  report.gradient_norm = 0.84;
  report.tokens_per_second = 5100;
  report.sol = 0.78;
  report.memory_bytes = int64_t{6} << 28;
  report.seconds_left = 72;
  EXPECT_EQ(progress_line(report), "step 120/400 | loss 4.213 | lr 1.9e-03 | grad 0.84 | 5.1k tok/s | SOL 78% | mem 1.50 GiB | ETA 01:12");
  report.validation_loss = 4.301;
  EXPECT_NE(progress_line(report).find("| loss 4.213 | val 4.301 | lr"), std::string::npos);
}

}  // namespace
}  // namespace gta
