#include "launch/markup.h"

#include <gtest/gtest.h>

namespace gta {
namespace {

TEST(Markup, TextIsEscapedAndElementsAreNot) {
  const std::string name = "<script>alert(1)</script>";
  EXPECT_EQ(element("p", {{"class", "a\"b"}}, {name, element("b", {}, {"x"})}).text(),
            "<p class=\"a&quot;b\">&lt;script&gt;alert(1)&lt;/script&gt;<b>x</b></p>");
  EXPECT_EQ(empty_element("path", {{"d", "M0 0"}}).text(), "<path d=\"M0 0\"/>");
  Markup all = Markup::literal("<br>");
  all += "a & b";
  EXPECT_EQ(all.text(), "<br>a &amp; b");
}

TEST(Markup, AnAttributeEndsWhereItsValueDoes) {
  EXPECT_EQ(element("p", {{"title", "\" onclick='alert(1)' x=\""}}, {}).text(),
            "<p title=\"&quot; onclick=&#39;alert(1)&#39; x=&quot;\"></p>");
}

TEST(Markup, WhatNoPageMayHaveIsReplaced) {
  const std::string replaced = "\xef\xbf\xbd";
  EXPECT_EQ(escaped(std::string("a\0b", 3)), "a" + replaced + "b");
  for (const char* bad :
       {"\x01", "\x1b", "\r", "\x7f", "\xc2\x80", "\xc2\x9f", "\xff", "\x80", "\xef\xbf\xbe", "\xef\xbf\xbf",
        "\xef\xb7\x90", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x80\x8f", "\xf0\x9f\xbf\xbf"})
    EXPECT_EQ(escaped(bad), replaced) << static_cast<int>(static_cast<unsigned char>(bad[0]));
  EXPECT_EQ(escaped("\xed\xa0\x80"), replaced + replaced + replaced);  // a surrogate
  EXPECT_EQ(escaped("\xc0\xbc"), replaced + replaced);                 // an overlong <
  EXPECT_EQ(escaped("\xe2\x82"), replaced + replaced);                 // cut off
  EXPECT_EQ(escaped("tab\tline\n\xc2\xa0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
            "tab\tline\n\xc2\xa0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace gta
