// Profiles: of the last rows of each run, mean over seeds.
#include "launch/compare/profiles.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/io/file.h"
#include "tests/launch/compare/made_records.h"
#include "tests/launch/compare/made_run.h"

namespace gta {
namespace {

class Profiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/gta-profiles-" + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string file(const std::string& text) {
    publish_text(folder_ + "/metrics.jsonl", text);
    return folder_ + "/metrics.jsonl";
  }
  std::string folder_;
};

using ProfilesOfRuns = MadeRuns;

LastRows last_rows(const std::string& metrics_file) {
  LastRows rows;
  each_row(metrics_file, [&](const MetricsRow& row) { rows.take(row); });
  return rows;
}

std::vector<Profile> profiles_of_one(Comparison comparison, const LastRows& rows) {
  comparison.runs[0].last_rows = rows;
  return profiles_of(comparison);
}

const Profile* find(const std::vector<Profile>& profiles, const std::string& key) {
  for (const Profile& profile : profiles)
    if (profile.key == key) return &profile;
  return nullptr;
}

TEST_F(Profiles, TheLastRowOfEachKindCounts) {
  const LastRows rows = last_rows(
      file(R"({"kind":"diagnosis","step":100,"map_entropy/layers.0":9,"gone/layers.0":1})"
           "\n"
           R"({"kind":"step","step":150,"loss":3.0})"
           "\n"
           R"({"kind":"diagnosis","step":200,"map_entropy/layers.0":2.5,"map_entropy/layers.1":null})"
           "\n"
           R"({"kind":"breakdown","step":300,"loss/position/1":5.5,"loss/position/3-4":4,"time":1700000000.5})"
           "\n"
           R"({"kind":"breakdown","step":400,"loss/position/1":4.5)"));  // cut off
  EXPECT_EQ(rows.diagnosis_step, 200);
  EXPECT_EQ(rows.diagnosis, (std::map<std::string, double>{{"map_entropy/layers.0", 2.5}}));
  EXPECT_EQ(rows.breakdown_step, 300);
  EXPECT_EQ(rows.breakdown, (std::map<std::string, double>{{"loss/position/1", 5.5}, {"loss/position/3-4", 4}}));
}

TEST_F(Profiles, WhatIsNoRowIsLeftOut) {
  const LastRows rows =
      last_rows(file("\"diagnosis\"\n{\"kind\":\"diagnosis\"}\n{\"kind\":\"diagnosis\",\"step\":\"x\",\"a/b\":1}\n"
                     "[{\"kind\":\"diagnosis\",\"step\":1,\"a/b\":1}]\n{\"text\":\"diagnosis\",\"step\":3}\n" +
                     std::string(3 << 20, 'x') + "\"diagnosis\"\n"));
  EXPECT_TRUE(rows.diagnosis.empty());
  EXPECT_TRUE(rows.breakdown.empty());
  EXPECT_TRUE(last_rows(folder_ + "/none.jsonl").diagnosis.empty());
}

TEST_F(Profiles, ValuesAreMeansOverTheSeedsThatCount) {
  std::vector<RunRecord> runs = made_records({{"gqa", 0}, {"gta", -0.02}}, 3);
  runs[1].state = RunState::Diverged;  // gqa, seed 2
  runs[1].reason = "diverged";
  for (size_t i = 0; i < runs.size(); ++i) {
    LastRows& rows = runs[i].last_rows;
    rows.diagnosis_step = 700 + static_cast<int64_t>(i);
    rows.diagnosis = {{"map_entropy/layers.0", 1.0 + static_cast<double>(i)},
                      {"map_entropy/layers.10", 5},
                      {"map_entropy/layers.9", 4}};
  }
  runs[5].last_rows.diagnosis["latent_rank/layers.0"] = 30;
  const std::vector<Profile> profiles = profiles_of(compare(runs, {}));
  ASSERT_EQ(profiles.size(), 2u);
  const Profile& entropy = *find(profiles, "map_entropy");
  EXPECT_EQ(entropy.labels, (std::vector<std::string>{"0", "9", "10"}));
  EXPECT_EQ(entropy.first_step, 700);
  EXPECT_EQ(entropy.last_step, 705);
  ASSERT_EQ(entropy.lines.size(), 2u);
  EXPECT_EQ(entropy.lines[0].variant, "gqa");
  EXPECT_EQ(entropy.lines[0].values[0].values, (std::map<int64_t, double>{{1, 1.0}, {3, 3.0}}));
  EXPECT_EQ(entropy.lines[0].values[0].mean, 2.0);
  EXPECT_EQ(entropy.lines[1].values[0].mean, 5.0);
  const Profile& latents = *find(profiles, "latent_rank");
  ASSERT_EQ(latents.lines.size(), 1u);
  EXPECT_EQ(latents.lines[0].variant, "gta");
  EXPECT_EQ(latents.lines[0].values[0].values.size(), 1u);
}

TEST_F(Profiles, PositionsAndPartsAreInTheirOrder) {
  const Comparison comparison = compare(made_records({{"gqa", 0}}, 1), {});
  LastRows rows;
  for (const char* bucket : {"1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129+"})
    rows.breakdown[std::string("loss/position/") + bucket] = 3;
  for (const char* part : {"embed_tokens", "layers.0", "layers.2", "layers.11", "norm", "lm_head"})
    rows.diagnosis[std::string("gradient_norm/") + part] = 1;
  const std::vector<Profile> profiles = profiles_of_one(comparison, rows);
  EXPECT_EQ(find(profiles, "loss/position")->labels,
            (std::vector<std::string>{"1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129+"}));
  EXPECT_EQ(find(profiles, "gradient_norm")->labels,
            (std::vector<std::string>{"embed", "0", "2", "11", "norm", "head"}));
}

TEST_F(Profiles, NamesThatAreNoPartsAreNotTaken) {
  const Comparison comparison = compare(made_records({{"gqa", 0}}, 1), {});
  LastRows rows;
  for (const char* name :
       {"loss/position/<script>", "loss/position/-3", "loss/position/3-", "loss/position/", "loss/position/1e3"})
    rows.breakdown[name] = 3;
  for (const char* name : {"map_entropy/layers.", "map_entropy/layers.x", "map_entropy/norm", "map_entropy/layers.-1",
                           "gradient_norm/other", "unknown/layers.0"})
    rows.diagnosis[name] = 1;
  EXPECT_TRUE(profiles_of_one(comparison, rows).empty());
  for (int i = 0; i < 10000; ++i) rows.breakdown["loss/position/" + std::to_string(i + 1)] = 3;
  EXPECT_EQ(profiles_of_one(comparison, rows).front().labels.size(), kMostLabels);
}

TEST_F(ProfilesOfRuns, AreReadFromTheRunsFolders) {
  std::vector<std::string> runs;
  for (const std::string type : {"gqa", "gta"}) {
    MadeRun made;
    made.type = type;
    runs.push_back(make(type, made));
  }
  publish_text(runs[0] + "/metrics.jsonl", read_file(runs[0] + "/metrics.jsonl") +
                                               "{\"kind\":\"diagnosis\",\"step\":8,\"key_rank/layers.0\":20}\n");
  const std::vector<Profile> profiles = profiles_of(compare_runs(runs));
  ASSERT_EQ(profiles.size(), 1u);
  EXPECT_EQ(profiles[0].lines.size(), 1u);
  EXPECT_EQ(profiles[0].lines[0].values[0].mean, 20);
}

}  // namespace
}  // namespace gta
