// report.html: whole, small, and nothing of a run's text in it is markup.
#include "launch/compare/page/page.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "core/io/file.h"
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

// tests/interop/report_check says what validators and a browser say; 77: there are none here.
TEST(ReportPage, ValidatorsAndABrowserHaveNothingToSayOfIt) {
  const std::string folder = testing::TempDir() + "/gta-report-page";
  std::filesystem::create_directories(folder);
  publish_text(folder + "/seven.html", page_of(compare(made_records(kSevenVariants, 5), named("Seven variants"))));
  std::vector<RunRecord> runs = made_records({{"gqa", 0}, {"gta", -0.02}}, 2);
  runs.back().environment["compiler"] = "<another> & \"compiler\"";
  runs.front().state = RunState::Unfinished;
  runs.front().reason = "ends at step 7 of 800";
  const Comparison unfair = compare(runs, named("<b>Not fair</b>"));
  publish_text(folder + "/unfair.html", report_page(unfair, {words_of(unfair)}));
  const std::string check = std::string(GTA_SOURCE_DIR) + "/tests/interop/report_check";
  const int status = std::system(
      fmt::format("python3 '{0}' '{1}/seven.html' '{1}/unfair.html' > '{1}/said.txt' 2>&1", check, folder).c_str());
  const std::string said = read_file(folder + "/said.txt");
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << said;
  EXPECT_EQ(status, 0) << said;
}

}  // namespace
}  // namespace gta
