// `gta train --profile`: the trace is JSON, its ranges nest, and they account for the time of each step. NVTX has the
// same ranges.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/launch/small_run.h"

namespace gta {
namespace {

using Profile = SmallRun;

// Microseconds with three digits are whole nanoseconds; the sum of two of them in double is off by far less than one.
constexpr double kRounding = 1e-4;

struct Span {
  std::string name;
  double begin = 0, end = 0, self = 0;  // microseconds
  int64_t thread = 0;
  bool contains(const Span& other) const { return begin <= other.begin + kRounding && other.end <= end + kRounding; }
};

std::vector<Span> spans_of(const std::string& path) {
  std::vector<Span> spans;
  const nlohmann::json trace = nlohmann::json::parse(read_file(path));
  for (const auto& event : trace.at("traceEvents")) {
    EXPECT_EQ(event.at("ph"), "X");
    const double begin = event.at("ts"), duration = event.at("dur");
    EXPECT_GE(begin, 0);
    EXPECT_GE(duration, 0);
    spans.push_back({event.at("name"), begin, begin + duration, event.at("args").at("self"), event.at("tid")});
  }
  return spans;
}

TEST_F(Profile, TheRangesOfAStepNestAndAddUpToIt) {
  WatchedRun o = options("profiled");
  o.profile_steps = 3;
  ASSERT_EQ(train(load({"train.steps=4", "train.evaluate_every_steps=2", "train.sample_prompts=[\"ab\"]"}), o).step, 4);

  const std::vector<Span> spans = spans_of(o.run_dir + "/profile.json");
  std::vector<Span> steps;
  for (const Span& span : spans)
    if (span.name == "step") steps.push_back(span);
  ASSERT_EQ(steps.size(), 3u) << "as many as were asked for";

  for (size_t i = 0; i < spans.size(); ++i) {
    const Span& a = spans[i];
    ASSERT_GE(a.self, -kRounding) << a.name;
    for (size_t k = 0; k < i; ++k) {
      const Span& b = spans[k];
      if (a.thread != b.thread) continue;
      const bool apart = a.end <= b.begin + kRounding || b.end <= a.begin + kRounding;
      ASSERT_TRUE(apart || a.contains(b) || b.contains(a))
          << a.name << " " << a.begin << " to " << a.end << " crosses " << b.name << " " << b.begin << " to " << b.end;
    }
  }
  for (const Span& step : steps) {
    double total = 0;
    std::set<std::string> names;
    int64_t inside = 0;
    for (const Span& span : spans) {
      if (span.thread != step.thread || !step.contains(span)) continue;
      total += span.self;
      names.insert(span.name);
      ++inside;
    }
    EXPECT_NEAR(total, step.end - step.begin, 1e-3 * static_cast<double>(inside));
    for (const char* name :
         {"data", "embedding", "shared_map_attention", "value_decoder", "cross_entropy", "gradient_norm", "adamw"})
      EXPECT_TRUE(names.count(name)) << name << " is not in the step";
  }
  EXPECT_NE(read_file(o.run_dir + "/log.txt").find("% of it in the ranges below"), std::string::npos)
      << "what no range covers is said";
}

// A tool that listens hears the same ranges as the profile has, and from a run without a profile the same ones.
#ifdef GTA_NVTX_LISTENER
TEST_F(Profile, NvtxHasTheRangesOfCudaBuildsWithAndWithoutAProfile) {
  using Counts = std::map<std::string, int64_t>;  // of the ranges in steps, and of the steps
  // What is heard of a run that ends well. By thread, begin and end take turns like brackets.
  const auto hear = [&](const std::string& run, const std::string& options) {
    const std::string heard = folder_ + "/" + run + ".nvtx";
    setenv("NVTX_INJECTION64_PATH", GTA_NVTX_LISTENER, 1);
    setenv("NVTX_LISTENER_FILE", heard.c_str(), 1);
    EXPECT_EQ(gta("train " + folder_ + "/run.yaml --device cpu --run-dir " + folder_ + "/" + run + options +
                  " --set train.steps=3"),
              0)
        << errors();
    unsetenv("NVTX_INJECTION64_PATH");
    unsetenv("NVTX_LISTENER_FILE");
    std::map<std::string, std::vector<std::string>> open;  // by thread
    Counts counts;
    std::ifstream lines(heard);
    EXPECT_TRUE(lines.is_open()) << "nothing was heard";
    for (std::string thread, what, name; lines >> thread >> what;) {
      std::vector<std::string>& ranges = open[thread];
      if (what == "push" && lines >> name) {
        ranges.push_back(name);
        counts[name] += ranges.front() == "step";
      } else if (ranges.empty()) {
        ADD_FAILURE() << "a range ends that did not begin";
      } else {
        ranges.pop_back();
      }
    }
    for (const auto& [thread, ranges] : open) EXPECT_TRUE(ranges.empty()) << ranges.back() << " has no end";
    std::erase_if(counts, [](const auto& entry) { return entry.second == 0; });
    return counts;
  };
  const Counts profiled = hear("profiled", " --profile 3");
  Counts expected;
  const std::vector<Span> spans = spans_of(folder_ + "/profiled/profile.json");
  for (const Span& span : spans)
    for (const Span& step : spans)
      expected[span.name] += step.name == "step" && span.thread == step.thread && step.contains(span);
  std::erase_if(expected, [](const auto& entry) { return entry.second == 0; });
  EXPECT_EQ(expected["step"], 3);
  EXPECT_EQ(profiled, expected);
  EXPECT_EQ(hear("alone", ""), expected);
}
#endif

TEST_F(Profile, AShortRunIsProfiledWhole) {
  WatchedRun o = options("short");
  o.profile_steps = 100;
  ASSERT_EQ(train(load({"train.steps=2", "optimizer.schedule.warmup_steps=1"}), o).step, 2);
  const std::string text = read_file(o.run_dir + "/profile.json"), step = "\"name\":\"step\"";
  int64_t steps = 0;
  for (size_t at = text.find(step); at != std::string::npos; at = text.find(step, at + 1)) ++steps;
  EXPECT_EQ(steps, 2);
}

}  // namespace
}  // namespace gta
