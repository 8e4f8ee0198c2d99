#include "core/profiler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/gemm.h"
#include "tests/cuda_device.h"

namespace gta {
namespace {

void spend(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

void record(Profiler& profiler) {
  profiler.start();
  {
    ProfilerRange outer("outer");
    spend(0.002);
    for (int i = 0; i < 2; ++i) {
      ProfilerRange inner("inner");
      spend(0.003);
      gemm({.a = Tensor::zeros({2, 3}, DType::F32, {}),
            .b = Tensor::zeros({3, 5}, DType::F32, {}),
            .c = Tensor::zeros({2, 5}, DType::F32, {})});
    }
  }
  profiler.stop();
}

TEST(Profiler, TheSummaryOfOneKindOfOutermostRangeAddsUpToIt) {
  Profiler profiler;
  profiler.start();
  for (const char* name : {"step", "save", "step"}) {
    ProfilerRange outer(name);
    spend(0.001);
    ProfilerRange inner("inner");
    spend(0.001);
  }
  profiler.stop();
  double steps = 0, total = 0;
  for (const ProfilerEvent& event : profiler.events())
    if (event.name == "step") steps += event.seconds;
  for (const auto& row : profiler.summary("step")) {
    EXPECT_EQ(row.calls, 2) << row.name;
    EXPECT_NE(row.name, "save");
    total += row.self_seconds;
  }
  EXPECT_NEAR(total, steps, 1e-12);
  EXPECT_TRUE(profiler.summary("inner").empty()) << "is not an outermost one";
}

TEST(Profiler, SelfTimeIsWithoutTheRangesInside) {
  Profiler profiler;
  record(profiler);
  ASSERT_EQ(profiler.events().size(), 3u);
  const ProfilerEvent &first = profiler.events()[0], &second = profiler.events()[1], &outer = profiler.events()[2];
  EXPECT_EQ(outer.name, "outer");
  EXPECT_EQ(outer.depth, 0);
  EXPECT_EQ(first.depth, 1);
  EXPECT_NEAR(outer.self_seconds, outer.seconds - first.seconds - second.seconds, 1e-9);
  EXPECT_EQ(first.self_seconds, first.seconds);
  EXPECT_GE(first.seconds, 0.003);
  EXPECT_GE(second.start_seconds, first.start_seconds + first.seconds);
  EXPECT_EQ(outer.flops, 0) << "products count where they are made";
  EXPECT_EQ(first.flops, 2 * 2 * 3 * 5);
  const auto rows = profiler.summary();
  ASSERT_EQ(rows.size(), 2u);
  for (size_t i = 1; i < rows.size(); ++i) EXPECT_GE(rows[i - 1].self_seconds, rows[i].self_seconds);
  for (const auto& row : rows)
    if (row.name == "inner") {
      EXPECT_EQ(std::make_pair(row.calls, row.flops), std::make_pair(int64_t{2}, 120.0));
    }
}

TEST(Profiler, RecordsNothingWhenItIsOff) {
  Profiler profiler;
  record(profiler);
  const size_t events = profiler.events().size();
  { ProfilerRange range("late"); }
  EXPECT_EQ(profiler.events().size(), events);
}

// Where the first one was, the second one would record what nobody asked for.
TEST(Profiler, ThatIsGoneRecordsNothing) {
  std::optional<Profiler> profiler;
  profiler.emplace().start();
  profiler.emplace();
  { ProfilerRange range("later"); }
  EXPECT_EQ(profiler->events().size(), 0u);
}

TEST(Profiler, EndsOnlyItsOwnProfile) {
  Profiler profiler;
  {
    Profiler before;
    before.start();
    profiler.start();
  }
  { ProfilerRange range("later"); }
  profiler.stop();
  EXPECT_EQ(profiler.events().size(), 1u);
}

TEST(Profiler, TheChromeTraceIsJsonWithEveryRange) {
  std::string folder = (std::filesystem::temp_directory_path() / "gta-profiler-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  Profiler profiler;
  record(profiler);
  profiler.write_chrome_trace(folder + "/trace.json");
  std::ifstream file(folder + "/trace.json");
  const auto events = nlohmann::json::parse(file).at("traceEvents");
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].at("name"), "outer");
  EXPECT_EQ(events[2].at("ph"), "X");
  EXPECT_NEAR(events[0].at("dur").get<double>(), profiler.events()[0].seconds * 1e6, 0.001);
  EXPECT_EQ(events[0].at("args").at("flops"), 60);
  EXPECT_THROW(profiler.write_chrome_trace(folder + "/missing/trace.json"), Error);
  std::filesystem::remove_all(folder);
}

// A GPU's ranges are when their work runs, not when it is queued: with nothing asked for until the end, those of the
// host would be next to nothing.
TEST(Profiler, CudaRangesHaveTheDevicesTime) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  const Tensor x = Tensor::zeros({1 << 10, 1 << 12}, DType::F32, device),
               y = Tensor::zeros({1 << 10, 1 << 12}, DType::F32, device);
  Profiler profiler;
  profiler.start(device);
  {
    ProfilerRange outer("outer");
    {
      ProfilerRange inner("many");
      for (int i = 0; i < 20; ++i) y.copy_from(x);
    }
    ProfilerRange inner("one");
    y.copy_from(x);
  }
  profiler.stop();
  const std::vector<ProfilerEvent>& events = profiler.events();
  ASSERT_EQ(events.size(), 3u);
  const ProfilerEvent &many = events[0], &one = events[1], &outer = events[2];
  EXPECT_GT(one.seconds, 0);
  EXPECT_GT(many.seconds, 2 * one.seconds);
  EXPECT_GE(one.start_seconds, many.start_seconds + many.seconds);
  EXPECT_NEAR(outer.self_seconds, outer.seconds - many.seconds - one.seconds, 1e-9);
}

}  // namespace
}  // namespace gta
