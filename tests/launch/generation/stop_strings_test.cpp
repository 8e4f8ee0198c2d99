#include "launch/generation/stop_strings.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace gta {
namespace {

std::string shown(const std::vector<std::string>& strings, const std::vector<std::string>& pieces) {
  StopStrings stops(strings);
  std::string text;
  for (const std::string& piece : pieces) text += stops.push(piece);
  return text + stops.finish();
}

TEST(StopStrings, ShowNeitherTheStringNorWhatFollows) {
  EXPECT_EQ(shown({"END"}, {"one EN", "D two"}), "one ");
  EXPECT_EQ(shown({"END"}, {"END"}), "");
  EXPECT_EQ(shown({"END"}, {"one EN", "d"}), "one ENd");
  EXPECT_EQ(shown({"END"}, {"one EN"}), "one EN") << "what was held back is not lost";
  EXPECT_EQ(shown({}, {"a", "b"}), "ab");
}

TEST(StopStrings, HoldBackOnlyWhatMayBeTheBeginningOfOne) {
  StopStrings stops({"aab", "\n\n"});
  EXPECT_EQ(stops.push("xa"), "x");
  EXPECT_EQ(stops.push("a"), "");
  EXPECT_EQ(stops.push("a"), "a") << "of aaa the last two may begin it";
  EXPECT_EQ(stops.push("c\n"), "aac");
  EXPECT_EQ(stops.push("d"), "\nd");
  EXPECT_FALSE(stops.found());
  EXPECT_EQ(stops.push("aabz"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.push("more") + stops.finish(), "");
}

// The first that is complete, the longest of those that end together, wherever the text was cut.
TEST(StopStrings, ShowTheSameHoweverTheTextIsCut) {
  const std::vector<std::string> strings = {"abcab", "ca", "bca", "dd"};
  const RandomStream random(3, "text");
  int found = 0;
  for (uint64_t c = 0; c < 400; ++c) {
    std::string text;
    for (uint64_t i = 0; i < 12; ++i) text += static_cast<char>('a' + random.bits(100 * c + i) % 4);
    std::string expected = text;
    for (size_t end = 0; end <= text.size() && expected == text; ++end) {
      size_t longest = 0;
      for (const std::string& stop : strings)
        if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
      if (longest > 0) expected = text.substr(0, end - longest);
    }
    found += expected != text;
    std::vector<std::string> letters, pieces = {text.substr(0, c % 11), text.substr(c % 11)};
    for (const char letter : text) letters.emplace_back(1, letter);
    EXPECT_EQ(shown(strings, {text}), expected) << text;
    EXPECT_EQ(shown(strings, letters), expected) << text;
    EXPECT_EQ(shown(strings, pieces), expected) << text;
  }
  EXPECT_GT(found, 100);
  EXPECT_LT(found, 390);
}

}  // namespace
}  // namespace gta
