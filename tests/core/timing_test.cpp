// No test here looks at how long anything takes.
#include "core/measure/timing.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/measure/peak.h"

namespace gta {
namespace {

TEST(Timing, TheMedianIsTheMiddleOrTheMeanOfTheTwoThere) {
  EXPECT_EQ(timing_of({3, 1, 2}).median, 2);
  EXPECT_EQ(timing_of({4, 1, 2, 10}).median, 3);
  EXPECT_EQ(timing_of({4, 1, 2, 10}).least, 1);
  EXPECT_EQ(timing_of({4, 1, 2, 10}).repeats, 4);
  EXPECT_THROW(timing_of({}), Error);
}

TEST(Timing, OfRepeatsTheFirstWarmsUpAndTheCallBeforeEachIsNotTimed) {
  int prepared = 0, worked = 0;
  EXPECT_EQ(time_repeated(
                3, Device{}, [&] { ++prepared; }, [&] { ++worked; })
                .repeats,
            3);
  EXPECT_EQ(prepared, 4);
  EXPECT_EQ(worked, 4);
}

TEST(Peak, AProductAndACopyHaveARate) {
  EXPECT_GT(measure_peak_flops(DType::F64, Device{}), 0);
  EXPECT_GT(measure_copy_bandwidth(Device{}), 0);
  const Tensor cached[] = {Tensor::zeros({3, 1000}, DType::F32, Device{}),
                           Tensor::zeros({7, 5}, DType::BF16, Device{})};
  EXPECT_GT(time_for(0.01, Device{}, [&] { read_all(cached); }).least, 0);
}

}  // namespace
}  // namespace gta
