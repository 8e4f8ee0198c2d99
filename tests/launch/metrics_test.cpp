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

// Lines as they are written are read without a JSON library: it has to see the same in them. A number too many makes a
// line one for the library.
TEST(Metrics, PlainLinesAreReadAsTheJsonLibraryReadsThem) {
  const std::string numbers[] = {"0",
                                 "-1",
                                 "1.5",
                                 "2e3",
                                 "1E-5",
                                 "-0",
                                 "9223372036854775807",
                                 "9223372036854775808",
                                 "null",
                                 "\"2.5\"",
                                 "01",
                                 "1.",
                                 ".5",
                                 "+1",
                                 "1e",
                                 "1e400",
                                 "NaN",
                                 "true",
                                 "[1]",
                                 "{\"a\":1}",
                                 "- 1",
                                 "1 2",
                                 "0x10",
                                 "1e-400",
                                 "",
                                 "nul",
                                 "\"\\n\"",
                                 "-",
                                 "nulls"};
  const auto as_library = [](const std::string& line) {
    return line.substr(0, line.rfind('}')) + ",\"other\":[]}";  // an array is nothing plain
  };
  const auto text_of = [](const std::optional<MetricsRow>& row) { return row ? to_line(*row) : "none"; };
  int rows = 0;
  for (const std::string& a : numbers)
    for (const std::string& b : numbers)
      for (const std::string format :
           {R"({"kind":"step","loss":A,"step":3,"tokens":B,"time":1.5})", R"({"kind":"step","step":A,"loss":B})",
            R"( { "step" : 4 , "kind" : "validation","validation_loss":A,"validation_loss":B } )",
            R"({"kind":A,"step":B,"loss":1})", R"({"step":A,"loss":B})",
            R"({"kind":"step","step":1,"loss":2A,"x":B})"}) {
        std::string line = format;
        line.replace(line.find('A'), 1, a);
        line.replace(line.rfind('B'), 1, b);
        EXPECT_EQ(text_of(parse_row(line)), text_of(parse_row(as_library(line)))) << line;
        rows += parse_row(line).has_value();
      }
  EXPECT_GT(rows, 100);
  EXPECT_FALSE(parse_row(R"({"kind":"step","step":1,"loss":2} x)"));
  EXPECT_FALSE(parse_row(R"({"kind":"step","step":1,"loss":2,})"));
  EXPECT_FALSE(parse_row(std::string_view("{\"kind\":\"step\",\"step\":1}\0", 25)));
}

TEST(Metrics, DamagedFilesAreReadAndCounted) {
  char pattern[] = "/tmp/gta-metrics-XXXXXX";
  const std::string folder = mkdtemp(pattern), path = folder + "/metrics.jsonl";
  std::string text;
  for (int step = 1; step <= 20'000; ++step) text += to_line(StepRow{.step = step, .loss = 2.5});  // some MiB
  const std::string long_line(3 << 20, ' ');
  publish_text(path, text + "not a row\n" + long_line + R"({"kind":"step","step":1})" + "\n" +
                         to_line(ValidationRow{.step = 20'000, .loss = 2}) + R"({"kind":"st)");
  int64_t steps = 0, validations = 0;
  const RowCount count = each_row(path, [&](const MetricsRow& row) {
    if (std::holds_alternative<StepRow>(row)) EXPECT_EQ(step_of(row), ++steps);
    validations += std::holds_alternative<ValidationRow>(row);
  });
  EXPECT_EQ(std::tie(count.rows, count.others, count.cut), std::make_tuple(int64_t{20'001}, int64_t{2}, true));
  EXPECT_EQ(std::tie(steps, validations), std::make_tuple(int64_t{20'000}, int64_t{1}));
  publish_text(path, "");
  EXPECT_FALSE(each_row(path, [](const MetricsRow&) {}).cut);
  EXPECT_EQ(each_row(folder + "/absent", [](const MetricsRow&) {}).rows, 0);
  remove_tree(folder);
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
  EXPECT_EQ(steps["breakdown"], steps["validation"]);
  publish_text(path, text + "{\"kind\":\"step\",\"step\":13,\"lo");
  EXPECT_EQ(read_metrics(path).size(), 19u) << "a torn row is none";
}

TEST(MetricsPage, IsNotStale) {
  EXPECT_EQ(read_file(std::string(GTA_SOURCE_DIR) + "/docs/metrics.md"), metrics_markdown())
      << "launch/metrics.cpp has changed: gta docs metrics > docs/metrics.md";
}

}  // namespace
}  // namespace gta
