// Charts: well-formed, everything of a user's escaped, every point inside.
#include "launch/chart/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "launch/chart/forest.h"
#include "tests/launch/well_formed.h"

namespace gta {
namespace {

const std::string kHostile = "<script>alert(1)</script>\"'&\x01\xff\xe2\x80\xae";

TEST(Chart, IsOneElementThatNeedsNothingElseAndTakesNoMarkupFromNames) {
  const Chart chart{"A <title> & more", "tokens", "ms", {{kHostile, {{512, 3.5}, {4096, 20}}}}, Scale::Logarithmic};
  const std::string text = svg_of({chart, chart}, "Said in \"words\" & <tags>.");
  EXPECT_TRUE(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"")) << text.substr(0, 80);
  EXPECT_TRUE(text.ends_with("</svg>\n"));
  EXPECT_EQ(text.find("<script"), std::string::npos);
  EXPECT_NE(text.find("A &lt;title&gt; &amp; more"), std::string::npos);
  EXPECT_NE(text.find("<desc>Said in &quot;words&quot; &amp; &lt;tags&gt;.</desc>"), std::string::npos);
  EXPECT_EQ(text.find("href"), std::string::npos);
  EXPECT_EQ(text.find("nan"), std::string::npos);
  EXPECT_EQ(what_is_malformed(text), "");
}

// The middles of all marks.
std::vector<std::pair<double, double>> marks_of(const std::string& text) {
  std::vector<std::pair<double, double>> marks;
  const std::regex mark("class=\"mark\" d=\"M([-0-9.]+) ([-0-9.]+)m");
  for (std::sregex_iterator at(text.begin(), text.end(), mark), end; at != end; ++at)
    marks.emplace_back(std::stod((*at)[1]), std::stod((*at)[2]));
  return marks;
}

TEST(Chart, EveryPointLiesInsideItsPlot) {
  const Chart charts[] = {
      {"t", "x", "y", {{"a", {{1, 0}, {10, 7}, {100, 123456}}}, {"flat", {{1, 0}, {100, 0}}}}},
      {"one point", "x", "y", {{"a", {{5, 0}}}}, Scale::Logarithmic},
      {"negative", "x", "y", {{"a", {{1, -5}, {2, 3}}}}, Scale::Linear, Scale::Linear, Origin::Data},
      {"named",
       "x",
       "y",
       {{"a name", {{1e9, 3.2}}, 2, Draw::NamedMarks}, {"another", {{1e3, 3.2}}, 3, Draw::NamedMarks}},
       Scale::Logarithmic,
       Scale::Logarithmic}};
  size_t points = 0;
  for (const Chart& chart : charts) {
    const auto marks = marks_of(chart_markup(chart, "id", "").text());
    points += marks.size();
    for (const auto& [x, y] : marks) {
      EXPECT_GE(x, 50) << chart.title;
      EXPECT_LE(x, 390) << chart.title;
      EXPECT_GE(y, 40) << chart.title;
      EXPECT_LE(y, 260) << chart.title;
    }
  }
  EXPECT_EQ(points, 10u);
}

TEST(Chart, WhatIsNoNumberOrHasNoPlaceOnTheScaleIsNotDrawn) {
  const double nan = std::nan(""), infinite = INFINITY;
  const Chart chart{
      "t",
      "x",
      "y",
      {{"a", {{1, nan}, {nan, 1}, {infinite, 1}, {1, -infinite}, {0, 1}, {-3, 1}, {7, 0}, {2, 3, nan, 4}}}},
      Scale::Logarithmic,
      Scale::Logarithmic};
  const std::string text = chart_markup(chart, "id", "").text();
  EXPECT_EQ(marks_of(text).size(), 1u);
  EXPECT_EQ(text.find("nan"), std::string::npos);
  EXPECT_EQ(text.find("inf"), std::string::npos);
  const Chart empty{"t", "x", "y", {{"a", {}}, {"b", {{nan, nan}}}}};
  EXPECT_EQ(what_is_malformed(chart_markup(empty, "id", "").text()), "");
}

TEST(Chart, HugeNumbersMakeNoHugePicture) {
  const Chart chart{"t", "x", "y", {{"a", {{-1e308, -1e308}, {0, 0}, {1e308, 1e308}}}}};
  const std::string text = chart_markup(chart, "id", "").text();
  EXPECT_LT(text.size(), 10000u);
  EXPECT_EQ(text.find("nan"), std::string::npos);
  EXPECT_EQ(text.find("inf"), std::string::npos);
}

TEST(Axis, WritesRoundNumbersFromOneEndToTheOther) {
  const auto texts = [](const Axis& axis) {
    std::string all;
    for (const Axis::Tick& tick : axis.ticks(5)) all += tick.text + " ";
    return all;
  };
  EXPECT_EQ(texts({3.21, 3.29, Scale::Linear, 0, 100}), "3.22 3.24 3.26 3.28 ");
  EXPECT_EQ(texts({0, 1'638'400, Scale::Linear, 0, 100}), "0 500k 1M 1.5M ");
  EXPECT_EQ(texts({-0.02, 0.03, Scale::Linear, 0, 100}), "\u22120.02 \u22120.01 0.00 0.01 0.02 0.03 ");
  EXPECT_EQ(texts({1e12, 1e18, Scale::Logarithmic, 0, 100}), "1T 100T 10P 1E ");
  EXPECT_EQ(texts({100, 900, Scale::Logarithmic, 0, 100}), "100 200 500 ");
}

// Without two of them nobody can tell what a place on an axis is worth.
TEST(Axis, HasTwoTicksOrMoreWhoseWordsDiffer) {
  for (const Scale scale : {Scale::Linear, Scale::Logarithmic})
    for (const double low : {1e-9, 0.021, 1.01, 2.01, 5.01, 1234.0, 20'100.0, 123'400'000.0})
      for (const double ratio : {1.00001, 1.0003, 1.02, 1.3, 3.99, 4.5, 4.97, 5.0, 9.9, 99.0, 101.0, 1e4, 1e7}) {
        const std::vector<Axis::Tick> ticks = Axis(low, ratio * low, scale, 0, 300).ticks(5);
        EXPECT_GE(ticks.size(), 2u) << low << " to " << ratio * low;
        for (size_t i = 1; i < ticks.size(); ++i)
          EXPECT_NE(ticks[i].text, ticks[i - 1].text) << low << " to " << ratio * low;
      }
}

TEST(Forest, HasAMarkAnIntervalAndADotForEachSeed) {
  Forest forest{"Differences",
                "nats",
                0.005,
                {{kHostile, "said", 1, -0.03, {{-0.04, -0.02}}, {-0.035, -0.03, -0.025}},
                 {"one seed", "said", 2, 0.01, {}, {0.01}}}};
  const std::string text = forest_markup(forest, "id", kHostile).text();
  EXPECT_EQ(what_is_malformed(text), "");
  EXPECT_EQ(text.find("<script"), std::string::npos);
  const auto count = [&](const std::string& what) {
    size_t n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("class=\"dot\""), 4u);
  EXPECT_EQ(count("class=\"bar\""), 1u);
  EXPECT_EQ(count("class=\"mark\""), 2u);
  EXPECT_EQ(count("class=\"zone\""), 1u);
}

}  // namespace
}  // namespace gta
