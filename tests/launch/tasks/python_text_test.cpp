#include "launch/tasks/python_text.h"

#include <gtest/gtest.h>

namespace gta {
namespace {

// Each expectation is what Python 3.11 gives.
TEST(PythonText, TreatsStringsAsPythonDoes) {
  EXPECT_EQ(python::length("a\u00e9\u4e2d\U0001f600"), 4);
  EXPECT_EQ(python::strip(" \t\u00a0\u3000a b\u2003\n\x1f"), "a b");
  EXPECT_EQ(python::strip("\u200b"), "\u200b") << "a zero-width space is none";
  EXPECT_EQ(python::strip(" \n"), "");
  EXPECT_EQ(python::trailing_space("a \u2003\n"), 5u);
  EXPECT_EQ(python::trailing_space("a b"), 0u);
  EXPECT_EQ(python::capitalize("she WENT. Home"), "She went. home");
  EXPECT_EQ(python::capitalize("\u00e9t\u00c9 \u0416\u0396"), "\u00c9t\u00e9 \u0436\u03b6");
  EXPECT_EQ(python::capitalize("\u4e2dA"), "\u4e2da");
  EXPECT_EQ(python::capitalize(""), "");
  EXPECT_EQ(python::replace("a    b", "  ", " "), "a  b");
  EXPECT_EQ(python::without_brackets("a [x] b [y [z] c] [d"), "a  b  c] [d");
  EXPECT_EQ(python::without_brackets("a [x\ny] b [] c"), "a [x\ny] b  c");
}

}  // namespace
}  // namespace gta
