// metrics.jsonl: what is written is read back, whatever wrote it.
#include "launch/metrics.h"

#include <cmath>

#include "core/io/file.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

TEST(Metrics, EveryRowComesBackAsItWas) {
  const StepRow step{3, 4096, 2.5, 1e-3, 0.75, 0.5, 8192, 1e9, 0.25, int64_t{1} << 40, 1e-4};
  const auto again = parse_row(to_line(step));
  ASSERT_TRUE(again && std::holds_alternative<StepRow>(*again));
  const auto& s = std::get<StepRow>(*again);
  EXPECT_EQ(
      std::tie(s.step, s.tokens, s.loss, s.learning_rate, s.gradient_norm, s.step_seconds, s.tokens_per_second,
               s.flops_per_second, s.sol, s.memory_bytes, s.data_wait_seconds),
      std::tie(step.step, step.tokens, step.loss, step.learning_rate, step.gradient_norm, step.step_seconds,
               step.tokens_per_second, step.flops_per_second, step.sol, step.memory_bytes, step.data_wait_seconds));
  const auto validation = parse_row(to_line(ValidationRow{4, 8, 2, 7.4, 1.5}));
  ASSERT_TRUE(validation && std::holds_alternative<ValidationRow>(*validation));
  EXPECT_EQ(std::get<ValidationRow>(*validation).loss, 2);
  EXPECT_EQ(std::get<ValidationRow>(*validation).perplexity, 7.4);
  EXPECT_EQ(std::get<ValidationRow>(*validation).bits_per_byte, 1.5);
  const auto diagnosis = parse_row(to_line(DiagnosisRow{5, {{"weight_norm/norm", 3}, {"stream_rms/layers.0", NAN}}}));
  ASSERT_TRUE(diagnosis && std::holds_alternative<DiagnosisRow>(*diagnosis));
  EXPECT_EQ(step_of(*diagnosis), 5);
  EXPECT_EQ(std::get<DiagnosisRow>(*diagnosis).values.at("weight_norm/norm"), 3);
  EXPECT_TRUE(std::isnan(std::get<DiagnosisRow>(*diagnosis).values.at("stream_rms/layers.0")));
  // A loss that is no number is said, and read as none.
  EXPECT_NE(to_line(StepRow{.step = 1}).find("\"loss\":null"), std::string::npos);
  EXPECT_TRUE(std::isnan(std::get<StepRow>(*parse_row(to_line(StepRow{.step = 1}))).loss));
}

TEST(Metrics, RowsWithoutAKindAreReadAndWhatIsNoRowIsNot) {
  EXPECT_STREQ(kind_of(*parse_row(R"({"step":1,"loss":2.5})")), "step");
  EXPECT_STREQ(kind_of(*parse_row(R"({"step":1,"validation_loss":2.5})")), "validation");
  EXPECT_STREQ(kind_of(*parse_row(R"({"step":1,"weight_norm/norm":2.5})")), "diagnosis");
  EXPECT_EQ(std::get<StepRow>(*parse_row(R"({"step":1,"loss":"2.5","tokens":1.5})")).tokens, 0);
  for (const char* line : {"", "{", "[1]", "7", R"({"loss":2.5})", R"({"step":"1","loss":2.5})",
                           R"({"step":1.5,"loss":2.5})", R"({"kind":"other","step":1})", R"({"kind":3,"step":1})"})
    EXPECT_FALSE(parse_row(line)) << line;
}

using MetricsOfARun = SmallRun;

TEST_F(MetricsOfARun, AreReadBackInOrder) {
  EXPECT_TRUE(read_metrics(folder_ + "/absent").empty());
  ASSERT_EQ(train(load({"train.evaluate_every_steps=6", "train.diagnose_every_steps=4"}), options("run")).outcome,
            TrainOutcome::Finished);
  const std::string path = folder_ + "/run/metrics.jsonl", text = read_file(path);
  std::map<std::string, std::vector<int64_t>> steps;
  int64_t last = 0;
  std::string again;
  for (const MetricsRow& row : read_metrics(path)) {
    steps[kind_of(row)].push_back(step_of(row));
    EXPECT_GE(step_of(row), last);
    last = step_of(row);
    again += to_line(row);
  }
  EXPECT_EQ(again, text);
  EXPECT_EQ(steps["step"].size(), 12u);
  EXPECT_EQ(steps["validation"], (std::vector<int64_t>{6, 12}));
  EXPECT_EQ(steps["diagnosis"], (std::vector<int64_t>{4, 8, 12}));
  publish_text(path, text + "{\"kind\":\"step\",\"step\":13,\"lo");
  EXPECT_EQ(read_metrics(path).size(), 17u) << "a torn row is none";
}

TEST(MetricsPage, IsNotStale) {
  EXPECT_EQ(read_file(std::string(GTA_SOURCE_DIR) + "/docs/metrics.md"), metrics_markdown())
      << "launch/metrics.cpp has changed: gta docs metrics > docs/metrics.md";
}

}  // namespace
}  // namespace gta
