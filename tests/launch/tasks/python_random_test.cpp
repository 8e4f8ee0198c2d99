#include "launch/tasks/python_random.h"

#include <gtest/gtest.h>

namespace gta {
namespace {

using Drawn = std::vector<int64_t>;

// Each expectation is what Python 3.11's random.Random(seed).sample(range(population), count) gives, call by call.
TEST(PythonRandom, DrawsWhatPythonDraws) {
  python::Random few(1234);
  EXPECT_EQ(few.sample(30, 3), (Drawn{24, 14, 3}));
  EXPECT_EQ(few.sample(30, 3), (Drawn{0, 2, 29}));
  EXPECT_EQ(few.sample(30, 3), (Drawn{25, 18, 1}));
  python::Random all(1234);
  EXPECT_EQ(all.sample(12, 12), (Drawn{7, 1, 0, 10, 9, 5, 6, 11, 4, 8, 3, 2}));
  EXPECT_EQ(all.sample(12, 12), (Drawn{0, 11, 5, 7, 8, 1, 10, 6, 9, 3, 4, 2}));
  python::Random many(1234);
  EXPECT_EQ(many.sample(1000, 7), (Drawn{989, 796, 451, 119, 7, 92, 932}));
  EXPECT_EQ(many.sample(1000, 7), (Drawn{965, 961, 826, 596, 35, 687, 709}));
  python::Random list(1234);  // more than 21, and still from a list
  EXPECT_EQ(list.sample(70, 9), (Drawn{56, 14, 0, 11, 4, 10, 12, 49, 22}));
  EXPECT_EQ(python::Random(7).sample(100000, 4), (Drawn{42445, 19772, 51750, 85319}));
  EXPECT_EQ(python::Random(4294967295).sample(100000, 4), (Drawn{83277, 81208, 26633, 28225}));
  EXPECT_EQ(python::Random(1234).sample(5, 0), Drawn{});
  EXPECT_EQ(python::Random(1234).sample(1, 1), Drawn{0});
}

}  // namespace
}  // namespace gta
