// Charts: well-formed, everything of a user's escaped, every point inside.
#include "launch/chart.h"

#include <gtest/gtest.h>

#include <regex>

namespace gta {
namespace {

TEST(Chart, IsOneElementThatNeedsNothingElseAndTakesNoMarkupFromNames) {
  const Chart chart{"A <title> & more",
                    "tokens",
                    "ms",
                    {{"<script>alert(1)</script>", {{512, 3.5}, {4096, 20}}}},
                    Scale::Logarithmic};
  const std::string text = svg_of({chart, chart}, "Said in \"words\" & <tags>.");
  EXPECT_TRUE(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"")) << text.substr(0, 80);
  EXPECT_TRUE(text.ends_with("</svg>\n"));
  EXPECT_EQ(text.find("<script"), std::string::npos);
  EXPECT_NE(text.find("A &lt;title&gt; &amp; more"), std::string::npos);
  EXPECT_NE(text.find("<desc>Said in &quot;words&quot; &amp; &lt;tags&gt;.</desc>"), std::string::npos);
  EXPECT_EQ(text.find("href"), std::string::npos);
  EXPECT_EQ(text.find("nan"), std::string::npos);
  // Tags close in the order in which they were opened.
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z]+)[^>]*?(/?)>");
  for (std::sregex_iterator at(text.begin(), text.end(), tag), end; at != end; ++at) {
    if ((*at)[3].length() > 0) continue;
    if ((*at)[1].length() == 0) {
      open.push_back((*at)[2]);
      continue;
    }
    ASSERT_FALSE(open.empty());
    EXPECT_EQ(open.back(), (*at)[2]);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

TEST(Chart, EveryPointLiesInsideItsPlot) {
  const std::string text =
      svg_of({{"t", "x", "y", {{"a", {{1, 0}, {10, 7}, {100, 123456}}}, {"flat", {{1, 0}, {100, 0}}}}, Scale::Linear},
              {"one point", "x", "y", {{"a", {{5, 0}}}}, Scale::Logarithmic}},
             "");
  const std::regex circle("cx=\"([-0-9.]+)\" cy=\"([-0-9.]+)\"");
  int points = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), circle), end; at != end; ++at, ++points) {
    EXPECT_GE(std::stod((*at)[1]), 0);
    EXPECT_LE(std::stod((*at)[1]), 520);
    EXPECT_GE(std::stod((*at)[2]), 0);
    EXPECT_LE(std::stod((*at)[2]), 340);
  }
  EXPECT_EQ(points, 6);
}

}  // namespace
}  // namespace gta
