#include "core/parallel.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>
#include <vector>

namespace gta {
namespace {

TEST(Parallel, EveryItemIsDoneOnce) {
  for (int64_t items : {0, 1, 7, 1000}) {
    std::vector<int> done(items);
    parallel_for(items, [&](int64_t i) { ++done[i]; });
    EXPECT_EQ(done, std::vector<int>(items, 1));
  }
}

TEST(Parallel, RangesCoverEverythingOnceInPiecesOfTheGrain) {
  for (int64_t count : {0, 1, 6, 7, 8, 701})
    for (int64_t grain : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{10000}}) {
      std::vector<int> done(count);
      parallel_ranges(count, grain, [&](int64_t first, int64_t last) {
        EXPECT_LE(last - first, std::max<int64_t>(grain, 1));
        for (int64_t i = first; i < last; ++i) ++done[i];
      });
      EXPECT_EQ(done, std::vector<int>(count, 1)) << grain;
    }
}

TEST(Parallel, AnExceptionInAnItemComesOutInTheCaller) {
  for (int64_t items : {1, 100})
    EXPECT_THROW(parallel_for(items,
                              [&](int64_t i) {
                                if (i == items / 2) throw std::runtime_error("in the middle");
                              }),
                 std::runtime_error);
}

}  // namespace
}  // namespace gta
