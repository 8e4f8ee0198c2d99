// report.html: whole, small, and nothing of a run's text in it is markup.
#include "launch/compare/page/page.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/io/file.h"
#include "launch/compare/report_json.h"
#include "launch/compare/words.h"
#include "tests/launch/compare/made_records.h"
#include "tests/launch/well_formed.h"

namespace gta {
namespace {

size_t count_of(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

std::string page_of(const Comparison& comparison) {
  return report_page(comparison, {words_of(comparison)}, made_supplements(comparison));
}

CompareOptions named(const std::string& name) {
  CompareOptions options;
  options.name = name;
  return options;
}

TEST(ReportPage, HasEverySectionAndIsWellFormedAndSmall) {
  const Comparison comparison = compare(made_records(kSevenVariants, 5), named("Seven variants"));
  const std::string page = page_of(comparison);
  EXPECT_EQ(what_is_malformed(page), "");
  EXPECT_LT(page.size(), 400'000u);
  for (const char* id : {"results", "differences", "curves", "tradeoffs", "profiles", "scaling", "runs", "repeat"}) {
    EXPECT_EQ(count_of(page, fmt::format("<section id=\"{}\"", id)), 1u) << id;
    EXPECT_EQ(count_of(page, fmt::format("href=\"#{}\"", id)), 1u) << id;
  }
  EXPECT_EQ(count_of(page, "nan"), 0u);
  EXPECT_EQ(count_of(page, ">inf"), 0u);
}

// A browser says nothing of a rule that is cut: it leaves out what follows.
TEST(ReportPage, ItsStyleIsWhole) {
  const std::string page = page_of(compare(made_records(kSevenVariants, 2), named("x")));
  const size_t begin = page.find("<style>") + 7, end = page.find("</style>");
  int open = 0;
  for (size_t at = begin; at < end; ++at) {
    open += page[at] == '{' ? 1 : page[at] == '}' ? -1 : 0;
    EXPECT_TRUE(open >= 0 && open <= 2) << page.substr(at < 60 ? 0 : at - 60, 120);  // rules, and those of @media
  }
  EXPECT_EQ(open, 0);
}

TEST(ReportPage, NeedsNoNetworkAndNoScript) {
  const std::string page = page_of(compare(made_records(kSevenVariants, 2), named("x")));
  for (const char* word : {"http:", "https:", "src=", "<script", "<link", "@import", "url(", "javascript:"})
    EXPECT_EQ(count_of(page, word), 0u) << word;
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
}

TEST(ReportPage, EveryPictureHasANameAndADescription) {
  const std::string page = page_of(compare(made_records(kSevenVariants, 3), named("x")));
  const size_t pictures = count_of(page, "role=\"img\"");
  EXPECT_GE(pictures, 20u);
  EXPECT_EQ(count_of(page, "aria-labelledby=\""), pictures + 8);  // and of the sections
  EXPECT_EQ(count_of(page, "</title><desc id=\""), pictures);
  EXPECT_EQ(count_of(page, "<desc id=\"\"></desc>"), 0u);
  for (size_t at = page.find("<desc id="); at != std::string::npos; at = page.find("<desc id=", at + 1)) {
    const size_t begin = page.find('>', at) + 1, end = page.find("</desc>", begin);
    EXPECT_GT(end - begin, 20u) << page.substr(at, 60);
  }
}

TEST(ReportPage, TextOfRunsIsNeverMarkup) {
  const std::string hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\x01\xff\xe2\x80\xae\x1b[2J";
  std::vector<RunRecord> runs = made_records({{"gqa", 0}, {"gta", -0.02}}, 3);
  for (RunRecord& run : runs) {
    run.folder = "runs/" + hostile + std::to_string(run.config.seed) + run.config.name;
    run.config.name = hostile;
    run.config.train.init_from = hostile;
    run.environment["processor"] = run.environment[hostile] = hostile;
    run.changes = hostile + "\n" + hostile;
    run.remarks = {hostile};
  }
  RunRecord unreadable;
  unreadable.folder = unreadable.reason = hostile;
  runs.push_back(unreadable);
  Comparison comparison = compare(runs, named(hostile));
  for (Variant& variant : comparison.variants) {
    variant.name = variant.name + hostile;
    variant.settings[hostile] = variant.settings["model.x"] = variant.name;
  }
  for (Cell& cell : comparison.cells) cell.folder = cell.variant = cell.state = cell.reason = hostile;
  for (RunRecord& run : comparison.runs) run.label = hostile;
  comparison.problems.push_back({hostile, hostile});
  comparison.notes.push_back({hostile, hostile});
  Supplements supplements = made_supplements(comparison);
  for (Profile& profile : supplements.profiles) {
    for (std::string* text : {&profile.title, &profile.x_label, &profile.y_label, &profile.explanation})
      *text = hostile;
    for (std::string& label : profile.labels) label += hostile;
  }
  supplements.scaling->warnings.push_back(hostile);
  for (ScalingCurve& curve : supplements.scaling->curves)
    for (ComputeGain& gain : curve.gains) gain.size = gain.why_not = hostile;
  const std::string page = report_page(comparison, {hostile}, supplements);
  EXPECT_EQ(what_is_malformed(page), "");
  EXPECT_EQ(count_of(page, "<script"), 0u);
  EXPECT_EQ(count_of(page, "<img"), 0u);
  EXPECT_GT(count_of(page, "&lt;script&gt;alert(1)&lt;/script&gt;"), 50u);
  for (const char* byte : {"\x01", "\xff", "\x1b", "\xe2\x80\xae"}) EXPECT_EQ(count_of(page, byte), 0u);
}

TEST(ReportPage, WhatIsNotFairIsSaidBeforeAnythingElse) {
  std::vector<RunRecord> runs = made_records({{"gqa", 0}, {"gta", -0.02}}, 3);
  EXPECT_EQ(count_of(page_of(compare(runs, named("x"))), "class=\"banner\""), 0u);
  runs.back().environment["compiler"] = "another compiler";
  const Comparison comparison = compare(runs, named("x"));
  ASSERT_FALSE(comparison.fair());
  const std::string page = page_of(comparison);
  const size_t banner = page.find("class=\"banner\"");
  ASSERT_NE(banner, std::string::npos);
  EXPECT_LT(banner, page.find("class=\"lead\""));
  EXPECT_NE(page.find("another compiler", banner), std::string::npos);
}

TEST(ReportPage, OfOneSeedThereAreNumbersAndNoIntervalsAndNoStars) {
  const Comparison comparison = compare(made_records({{"gqa", 0}, {"gta", -0.02}}, 1), named("x"));
  const std::string page = report_page(comparison, {words_of(comparison)});
  EXPECT_EQ(what_is_malformed(page), "");
  EXPECT_EQ(count_of(page, "\u00b1 0"), 0u);
  EXPECT_EQ(count_of(page, "tag best"), 0u);
  EXPECT_EQ(count_of(page, ">one seed<"), 1u);
  EXPECT_EQ(count_of(page, "class=\"bar\""), 2u * 2 + 0);  // of the trade-offs, from itself to itself
  EXPECT_EQ(count_of(page, "section id=\"profiles\""), 0u);
  EXPECT_EQ(count_of(page, "section id=\"scaling\""), 0u);
}

TEST(ReportPage, OneVariantAndRunsWithoutNumbersMakeAPage) {
  std::vector<RunRecord> runs = made_records({{"gta", 0}}, 1);
  runs.front().training.clear();
  runs.front().validation.clear();
  runs.front().seconds_per_step = runs.front().tokens_per_second = runs.front().memory_bytes = runs.front().seconds =
      std::nan("");
  runs.front().environment.clear();
  runs.front().data_hash.reset();
  const Comparison comparison = compare(runs, named("x"));
  const std::string page = report_page(comparison, {});
  EXPECT_EQ(what_is_malformed(page), "");
  EXPECT_EQ(count_of(page, "nan"), 0u);
}

TEST(ReportPage, LeavesOutNoRunSilently) {
  std::vector<RunRecord> runs = made_records({{"gqa", 0}, {"gta", -0.02}}, 3);
  runs.back().state = RunState::Diverged;
  runs.back().reason = "its validation loss at the end is no number";
  const std::string page = page_of(compare(runs, named("x")));
  EXPECT_NE(page.find("5 of 6 runs count."), std::string::npos);
  EXPECT_NE(page.find("its validation loss at the end is no number"), std::string::npos);
}

// On paper nothing can be scrolled to.
TEST(ReportPage, ATableOfManyPartsHasARowForEachAndOneOfFewAColumn) {
  const Comparison comparison = compare(made_records({{"gqa", 0}, {"gta", -0.02}}, 2), named("x"));
  Supplements supplements = made_supplements(comparison);
  Profile& profile = supplements.profiles.front();
  EXPECT_EQ(count_of(report_page(comparison, {}, supplements), "<th scope=\"row\">part 47</th>"), 0u);
  profile.labels.clear();
  for (int i = 0; i < 48; ++i) profile.labels.push_back(fmt::format("part {}", i));
  for (Profile::Line& line : profile.lines) line.values.resize(48, line.values.front());
  const std::string page = report_page(comparison, {}, supplements);
  EXPECT_EQ(what_is_malformed(page), "");
  EXPECT_EQ(count_of(page, "<th scope=\"row\">part 47</th>"), 1u);
  EXPECT_EQ(count_of(page, "<th scope=\"col\">part 47</th>"), 0u);
  profile.labels.resize(5);
  for (Profile::Line& line : profile.lines) line.values.resize(5);
  EXPECT_EQ(count_of(report_page(comparison, {}, supplements), "<th scope=\"col\">part 4</th>"), 1u);
}

// NAME.html and NAME.json.
void write_report(const std::string& name, const Comparison& comparison, const Supplements& supplements = {}) {
  publish_text(name + ".html", report_page(comparison, {words_of(comparison)}, supplements));
  publish_text(name + ".json", report_text(comparison, supplements));
}

// A program of tests/interop: what the system says of its end, and what it said itself.
struct Said {
  int status;
  std::string text;
};
Said interop(const std::string& program, const std::string& arguments) {
  const std::string said = testing::TempDir() + "/gta-report-said.txt";
  const int status = std::system(
      fmt::format("python3 '{}/tests/interop/{}' {} > '{}' 2>&1", GTA_SOURCE_DIR, program, arguments, said).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(said)};
}

// tests/interop/report_check says what validators and a browser say; 77: there are none here.
TEST(ReportPage, ValidatorsAndABrowserHaveNothingToSayOfIt) {
  const std::string folder = testing::TempDir() + "/gta-report-page";
  std::filesystem::create_directories(folder);
  const Comparison seven = compare(made_records(kSevenVariants, 5), named("Seven variants"));
  write_report(folder + "/seven", seven, made_supplements(seven));
  std::vector<RunRecord> runs = made_records({{"gqa", 0}, {"gta", -0.02}}, 2);
  runs.back().environment["compiler"] = "<another> & \"compiler\"";
  runs.front().state = RunState::Unfinished;
  runs.front().reason = "ends at step 7 of 800";
  write_report(folder + "/unfair", compare(runs, named("<b>Not fair</b>")));
  const Said said = interop("report_check", fmt::format("'{0}/seven.html' '{0}/unfair.html'", folder));
  if (said.status == 77) GTEST_SKIP() << said.text;
  EXPECT_EQ(said.status, 0) << said.text;
}

// Of many variants colours and dashes come again.
std::vector<RunRecord> records_of_many(size_t variants, int64_t seeds) {
  std::vector<RunRecord> runs;
  for (size_t i = 0; i < variants; ++i)
    for (RunRecord& run : made_records({{"gqa", -0.003 * static_cast<double>(i)}}, seeds)) {
      run.folder += fmt::format("-{}", i);
      run.config.model.intermediate_size += 32 * static_cast<int64_t>(i);
      runs.push_back(std::move(run));
    }
  return runs;
}

// tests/interop/report_numbers.py finds what is drawn, by its coordinates, in report.json.
class DrawnNumbers : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no python3";
    std::filesystem::create_directories(folder_);
  }
  Said of(const std::string& name) {
    return interop("report_numbers.py", fmt::format("'{0}/{1}.html' '{0}/{1}.json'", folder_, name));
  }
  const std::string folder_ = testing::TempDir() + "/gta-report-numbers";
};

TEST_F(DrawnNumbers, AreAllInReportJson) {
  const std::pair<const char*, std::vector<RunRecord>> reports[] = {
      {"seven", made_records(kSevenVariants, 5)},
      {"one-seed", made_records({{"gqa", 0}, {"gta", -0.02}}, 1)},
      {"two-seeds", made_records({{"gqa", 0}, {"gta", 1e-5}}, 2)},
      {"many", records_of_many(20, 2)},
      {"long", made_records({{"gqa", 0}, {"mla", 0.01}, {"gta", -0.02}}, 3, 20'000)},
  };
  for (const auto& [name, runs] : reports) {
    const Comparison comparison = compare(runs, named(name));
    write_report(folder_ + "/" + name, comparison, made_supplements(comparison));
    const Said said = of(name);
    EXPECT_EQ(said.status, 0) << said.text;
  }
}

TEST_F(DrawnNumbers, ThatAreNotInReportJsonAreNamedWithTheirFigure) {
  const Comparison comparison = compare(made_records({{"gqa", 0}, {"gta", -0.02}}, 3), named("x"));
  const Supplements supplements = made_supplements(comparison);
  const nlohmann::ordered_json right = report_json(comparison, supplements);
  const std::pair<const char*, const char*> changes[] = {
      {"/variants/gta/curves/validation/mean/3", "validation-tokens"},
      {"/variants/gta/curves/validation/seconds/3", "validation-seconds"},
      {"/variants/gta/curves/training/high/199", "training-flops"},
      {"/variants/gta/curves/difference/low/6", "difference-1"},
      {"/variants/gta/difference/mean", "forest"},
      {"/variants/gta/difference/high", "forest"},
      {"/variants/gqa/validation_loss/mean", "tradeoff-cache"},
      {"/variants/gqa/attention_flops_per_token", "tradeoff-attention"},
      {"/decode_tokens_per_second/gqa", "tradeoff-decoding"},
      {"/profiles/loss~1position/variants/gqa/2/mean", "loss-position"},
      {"/profiles/map_entropy/variants/gta/1/low", "map_entropy"},
      {"/scaling/gta/points/2/mean", "scaling-compute"},
      {"/scaling/gqa/over_parameters/exponent", "scaling-parameters"},
  };
  for (const auto& [place, figure] : changes) {
    nlohmann::ordered_json json = right;
    nlohmann::ordered_json& number = json.at(nlohmann::ordered_json::json_pointer(place));
    ASSERT_TRUE(number.is_number()) << place;
    number = number.get<double>() * 1.01;
    publish_text(folder_ + "/changed.html", report_page(comparison, {}, supplements));
    publish_text(folder_ + "/changed.json", json.dump());
    const Said said = of("changed");
    EXPECT_EQ(said.status, 1) << place;
    EXPECT_NE(said.text.find(std::string("    ") + figure + " ("), std::string::npos) << place << "\n" << said.text;
  }
}

}  // namespace
}  // namespace gta
