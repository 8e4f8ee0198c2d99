#include "core/allocator.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>
#include <vector>

#include "core/sanitizer.h"
#include "core/tensor.h"

namespace gta {
namespace {

int64_t held(Purpose purpose) { return memory_report(Device{}).in_use[static_cast<int>(purpose)]; }

TEST(Allocator, CountsWhatIsHeldByPurpose) {
  const int64_t before = held(Purpose::Optimizer), other = held(Purpose::Gradients);
  reset_memory_peak(Device{});
  {
    const Tensor a = Tensor::empty({1000, 1000}, DType::F32, {}, Purpose::Optimizer);
    const Tensor view = a.column_slice(3, 5);
    EXPECT_GE(held(Purpose::Optimizer) - before, 4000000);
    EXPECT_LE(held(Purpose::Optimizer) - before, 4000000 * 9 / 8) << "a size class loses at most an eighth";
    EXPECT_EQ(held(Purpose::Gradients), other);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.raw_data()) % 64, 0u);
  }
  EXPECT_EQ(held(Purpose::Optimizer), before);
  const MemoryReport report = memory_report(Device{});
  EXPECT_GE(report.peak[static_cast<int>(Purpose::Optimizer)], before + 4000000) << "the peak outlives the tensor";
  reset_memory_peak(Device{});
  EXPECT_EQ(memory_report(Device{}).peak[static_cast<int>(Purpose::Optimizer)], before);
}

TEST(Allocator, SaysWhatWasHeldAtThePeak) {
  const Device meta = meta_of(DeviceType::Cuda);
  const auto hold = [&](int64_t bytes, Purpose purpose) { return Tensor::empty({bytes}, DType::U8, meta, purpose); };
  reset_memory_peak(meta);
  const MemoryReport before = memory_report(meta);
  { const Tensor alone = hold(3000, Purpose::Workspace); }
  { const Tensor data = hold(2000, Purpose::Data), activations = hold(2500, Purpose::Activations); }
  const MemoryReport report = memory_report(meta);
  const auto more = [&](Purpose purpose) {
    return report.at_peak[static_cast<int>(purpose)] - before.in_use[static_cast<int>(purpose)];
  };
  EXPECT_EQ(more(Purpose::Workspace), 0) << "its largest was at another time";
  EXPECT_EQ(more(Purpose::Data), 2000);
  EXPECT_EQ(more(Purpose::Activations), 2500);
  EXPECT_EQ(report.total_peak, before.total_in_use() + 4500);
  reset_memory_peak(meta);
  EXPECT_EQ(memory_report(meta).at_peak, before.in_use);
}

TEST(Allocator, HandsOutAgainWhatWasFreed) {
  release_pooled_memory(Device{});
  EXPECT_EQ(memory_report(Device{}).pooled, 0);
  void* first = nullptr;
  {
    const Tensor a = Tensor::empty({300000}, DType::F32, {}, Purpose::Workspace);
    first = a.raw_data();
  }
  EXPECT_GE(memory_report(Device{}).pooled, 1200000);
  const Tensor b = Tensor::empty({299990}, DType::F32, {}, Purpose::Activations);
  EXPECT_EQ(b.raw_data(), first);
  EXPECT_EQ(memory_report(Device{}).pooled, 0);
}

// On the meta device, which has all addresses: a system may have to place a mapping away from its neighbours.
TEST(Allocator, SizesThatAreAskedForOnceLeaveLittleBehind) {
  const Device meta = meta_of(DeviceType::Cpu);
  release_pooled_memory(meta);
  reset_memory_peak(meta);
  const int64_t before = memory_report(meta).total_in_use(), step = 1 << 16, largest = 64 * step;
  for (int64_t bytes = step; bytes <= largest; bytes += step)
    Tensor::empty({bytes}, DType::U8, meta, Purpose::Workspace);
  for (int64_t bytes = largest; bytes > 0; bytes -= step + 4096)
    Tensor::empty({bytes}, DType::U8, meta, Purpose::Workspace);
  EXPECT_LE(memory_report(meta).reserved_peak - before, 2 * largest) << "kept by size, they were " << 65 * largest / 2;
  release_pooled_memory(meta);
}

TEST(Allocator, PartsOfBlocksAreUsedAndGivenBack) {
  release_pooled_memory(Device{});
  for (const int64_t kib : {128, 124, 64, 60, 1024, 68, 1000, 520, 1024}) {
    const Tensor tensor = Tensor::empty({kib << 10}, DType::U8, {}, Purpose::Workspace);
    std::fill_n(static_cast<char*>(tensor.raw_data()), kib << 10, 'x');
  }
  release_pooled_memory(Device{});
  EXPECT_EQ(memory_report(Device{}).pooled, 0);
}

// Holes of many sizes, as other libraries' mappings leave them, do not draw blocks away from each other.
TEST(Allocator, BlocksLieSideBySideWhateverElseIsMapped) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer chooses the addresses of mappings itself";
  release_pooled_memory(Device{});
  std::vector<std::pair<void*, size_t>> others;
  for (size_t i = 1; i <= 40; ++i) {
    const size_t bytes = i << 20;
    others.emplace_back(mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes);
  }
  for (size_t i = 0; i < others.size(); i += 2) munmap(others[i].first, others[i].second);
  reset_memory_peak(Device{});
  const int64_t before = memory_report(Device{}).total_in_use();
  for (int64_t mib = 1; mib <= 30; ++mib) Tensor::empty({mib << 20}, DType::U8, {}, Purpose::Workspace);
  EXPECT_LE(memory_report(Device{}).reserved_peak - before, int64_t{60} << 20)
      << "apart from each other they are 465 MiB";
  for (size_t i = 1; i < others.size(); i += 2) munmap(others[i].first, others[i].second);
  release_pooled_memory(Device{});
}

TEST(Allocator, ALargeTensorTakesItsPagesAndNoMore) {
  const int64_t before = held(Purpose::Optimizer);
  const Tensor tensor = Tensor::empty({(int64_t{100} << 20) + 1}, DType::U8, {}, Purpose::Optimizer);
  EXPECT_LE(held(Purpose::Optimizer) - before, (int64_t{100} << 20) + 4096);
}

TEST(Allocator, MoreBytesThanThereAreNumbersForIsOutOfMemory) {
  for (const Device device : {Device{}, meta_of(DeviceType::Cpu)})
    for (const Shape& shape : {Shape{int64_t{1} << 40, int64_t{1} << 40}, Shape{int64_t{1} << 62},
                               Shape{int64_t{1} << 32, int64_t{1} << 30}}) {
      try {
        Tensor::empty(shape, DType::F64, device);
        ADD_FAILURE() << to_string(shape) << " on " << name_of(device);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory) << error.what();
      }
    }
  EXPECT_EQ(Tensor::empty({int64_t{1} << 40, 0}, DType::F64, {}).elements(), 0);
}

TEST(Allocator, AddressSanitizerSeesAccessesBesideATensorAndAfterItsEnd) {
  if (!kAddressSanitizer) GTEST_SKIP() << "this build has no AddressSanitizer";
  const auto read = [](const float* at) {
    const volatile float value = *at;
    (void)value;
  };
  Tensor tensor = Tensor::zeros({3}, DType::F32, {});
  const float* const data = tensor.data<float>();
  read(data + 2);
  EXPECT_DEATH(read(data + 3), "use-after-poison");
  tensor = {};
  EXPECT_DEATH(read(data), "use-after-poison");
}

TEST(Allocator, StorageLivesAsLongAsItsLastView) {
  Tensor view;
  {
    Tensor whole = Tensor::zeros({4, 4}, DType::F32, {});
    EXPECT_TRUE(whole.unique());
    view = whole.row_slice(1, 2);
    EXPECT_FALSE(whole.unique());
  }
  EXPECT_TRUE(view.unique());
  EXPECT_EQ(view.to_vector<float>(), std::vector<float>(8, 0.0f));
}

TEST(Allocator, WhatIsKeptForReuseIsGivenUpBeforeTheLimitIsPassed) {
  release_pooled_memory(Device{});
  const int64_t limit = memory_report(Device{}).limit;
  { const Tensor freed = Tensor::empty({3 << 20}, DType::F32, {}, Purpose::Workspace); }
  const int64_t room = memory_report(Device{}).total_in_use() + (13 << 20);
  set_memory_limit(Device{}, room);
  {
    const Tensor a = Tensor::empty({1 << 20}, DType::F32, {}, Purpose::Workspace);  // 4 MiB beside 12 that are kept
    const MemoryReport report = memory_report(Device{});
    EXPECT_LE(report.total_in_use() + report.pooled, room);
  }
  set_memory_limit(Device{}, limit);
}

// In a process of its own, whose address space ends 64 MiB above what it has.
TEST(Allocator, WhatIsKeptForReuseIsGivenUpWhenTheSystemRefuses) {
  if (kAddressSanitizer || kThreadSanitizer)
    GTEST_SKIP() << "a sanitizer's shadow memory does not fit under a limit of the address space";
  const auto child = [] {
    release_pooled_memory(Device{});
    std::ifstream sizes("/proc/self/statm");
    rlim_t pages = 0;
    sizes >> pages;
    const rlim_t limit = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20);
    const rlimit space{limit, limit};
    if (setrlimit(RLIMIT_AS, &space) != 0) _exit(2);
    { const Tensor freed = Tensor::empty({10 << 20}, DType::F32, {}, Purpose::Workspace); }
    if (memory_report(Device{}).pooled < (40 << 20)) _exit(3);
    // 48 MiB do not fit beside the 40 that are kept
    const Tensor larger = Tensor::empty({12 << 20}, DType::F32, {}, Purpose::Workspace);
    try {
      Tensor::empty({30 << 20}, DType::F32, {}, Purpose::Workspace);
    } catch (const Error& error) {
      _exit(error.kind() == ErrorKind::OutOfMemory && memory_report(Device{}).pooled == 0 ? 0 : 4);
    }
    _exit(5);
  };
  EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

TEST(Allocator, TheLimitIsAnErrorThatSaysWhoHoldsWhat) {
  const int64_t limit = memory_report(Device{}).limit;
  const Tensor a = Tensor::empty({1 << 20}, DType::F32, {}, Purpose::Optimizer);
  set_memory_limit(Device{}, memory_report(Device{}).total_in_use() + (1 << 20));
  try {
    Tensor::empty({1 << 20}, DType::F32, {}, Purpose::Activations);
    ADD_FAILURE() << "allocated beyond the limit";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
    const std::string text = error.what();
    for (const char* part : {"asked for 4.0 MiB of activations", "optimizer 4.0 MiB", "limit"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  EXPECT_NO_THROW(Tensor::empty({1000}, DType::F32, {})) << "what fits still fits";
  set_memory_limit(Device{}, limit);
  EXPECT_NO_THROW(Tensor::empty({1 << 20}, DType::F32, {}));
}

}  // namespace
}  // namespace gta
