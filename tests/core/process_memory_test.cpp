#include "core/process_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "core/backends/memory_kernels.h"
#include "core/error.h"
#include "core/io/hdf5.h"
#include "core/sanitizer.h"

namespace gta {
namespace {

constexpr int64_t kMiB = 1 << 20;

// In a child: lowers the limit to what is in use and `more`, and ends with what f says.
template <class F>
void under_limit(decltype(RLIMIT_AS) resource, int64_t more, F&& f) {
  int64_t pages[6] = {};
  std::ifstream file("/proc/self/statm");
  for (int64_t& n : pages) file >> n;
  const rlim_t used = (resource == RLIMIT_AS ? pages[0] : pages[5]) * sysconf(_SC_PAGESIZE), most = used + more;
  const rlimit limit{most, most};
  if (setrlimit(resource, &limit) != 0) _exit(9);
  _exit(f());
}

TEST(ProcessMemory, IsWhatTheLimitsLeaveAndTheDevicesMemoryIsNoMore) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "a sanitizer's shadow memory does not fit under a limit";
  EXPECT_NO_THROW(require_memory("test", kMiB));
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA})
    EXPECT_EXIT(under_limit(resource, 64 * kMiB,
                            [] {
                              const int64_t left = memory_within_limits().value_or(-1);
                              if (left < 56 * kMiB || left > 64 * kMiB) return 1;
                              if (cpu::device_memory_bytes({}) > 64 * kMiB) return 2;
                              require_memory("test", 8 * kMiB);
                              try {
                                require_memory("test", 100 * kMiB);
                              } catch (const Error& error) {
                                return error.kind() == ErrorKind::OutOfMemory ? 0 : 3;
                              }
                              return 4;
                            }),
                testing::ExitedWithCode(0), "");
}

// HDF5 itself crashes.
TEST(ProcessMemory, AFileIsNotLaidOutWithoutIt) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "a sanitizer's shadow memory does not fit under a limit";
  EXPECT_EXIT(under_limit(RLIMIT_AS, kMiB / 4,
                          [] {
                            try {
                              hdf5::Writer("/nowhere/at/all.h5").add("/x", {1}, DType::F32);
                            } catch (const Error& error) {
                              return error.kind() == ErrorKind::OutOfMemory ? 0 : 1;
                            }
                            return 2;
                          }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace gta
