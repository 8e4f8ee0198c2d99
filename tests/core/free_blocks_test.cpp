#include "core/free_blocks.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace gta {
namespace {

constexpr int64_t kPage = 4096;
char* const kBase = reinterpret_cast<char*>(uintptr_t{1} << 40);  // never touched

// void: of a char* a failed check would print the text, which is not there
using Ranges = std::map<const void*, int64_t>;

Ranges kept(FreeBlocks& blocks) {
  Ranges found;
  blocks.clear([&](void* data, int64_t bytes) { found[data] = bytes; });
  return found;
}

TEST(FreeBlocks, ARequestTakesTheSmallestRangeThatHoldsItAndLeavesTheRest) {
  FreeBlocks blocks;
  blocks.put(kBase, 64 * kPage);
  blocks.put(kBase + 100 * kPage, 40 * kPage);
  EXPECT_EQ(blocks.take(20 * kPage), kBase + 100 * kPage);
  EXPECT_EQ(blocks.take(20 * kPage), kBase + 120 * kPage);
  EXPECT_EQ(blocks.take(40 * kPage), kBase);
  EXPECT_EQ(blocks.take(25 * kPage), nullptr);
  EXPECT_EQ(kept(blocks), (Ranges{{kBase + 40 * kPage, 24 * kPage}}));
  EXPECT_EQ(blocks.take(kMappedBytes), nullptr) << "what was cleared is forgotten";
}

TEST(FreeBlocks, WhatIsLeftOfARangeIsNeverTooSmallForABlock) {
  FreeBlocks blocks;
  blocks.put(kBase, 64 * kPage);
  EXPECT_EQ(blocks.take(63 * kPage), nullptr);
  EXPECT_EQ(blocks.take(49 * kPage), nullptr);
  EXPECT_EQ(blocks.take(48 * kPage), kBase);
  EXPECT_EQ(blocks.take(16 * kPage), kBase + 48 * kPage);
}

TEST(FreeBlocks, RangesSideBySideBecomeOne) {
  FreeBlocks blocks;
  for (const int64_t at : {0, 3, 1, 2}) blocks.put(kBase + at * 16 * kPage, 16 * kPage);
  EXPECT_EQ(blocks.take(64 * kPage), kBase);
  EXPECT_TRUE(kept(blocks).empty());
}

TEST(FreeBlocks, SmallOnesServeTheirOwnSizeOnlyAndStayWhole) {
  FreeBlocks blocks;
  blocks.put(kBase, 512);
  blocks.put(kBase + 512, 1024);
  EXPECT_EQ(blocks.take(513), nullptr);
  EXPECT_EQ(blocks.take(256), nullptr);
  EXPECT_EQ(blocks.take(1024), kBase + 512);
  EXPECT_EQ(kept(blocks), (Ranges{{kBase, 512}}));
}

// Against a map of pages: nothing is handed out twice, nothing is lost, nothing is kept in two pieces.
TEST(FreeBlocks, NothingIsLostAndNothingHandedOutTwice) {
  constexpr int64_t kPages = 2000;
  FreeBlocks blocks;
  std::vector<bool> free(kPages, true);
  std::vector<std::pair<int64_t, int64_t>> held;
  std::mt19937 random(5);
  blocks.put(kBase, kPages * kPage);
  for (int round = 0; round < 20000; ++round) {
    if (random() % 2 && !held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      const auto [first, pages] = held.back();
      held.pop_back();
      std::fill_n(free.begin() + first, pages, true);
      blocks.put(kBase + first * kPage, pages * kPage);
    } else if (const int64_t pages = 16 + static_cast<int64_t>(random() % 100);
               char* const data = static_cast<char*>(blocks.take(pages * kPage))) {
      const int64_t first = (data - kBase) / kPage;
      for (int64_t i = first; i < first + pages; ++i) {
        ASSERT_TRUE(free[i]);
        free[i] = false;
      }
      held.emplace_back(first, pages);
    } else {
      int64_t run = 0;
      for (int64_t i = 0; i < kPages; ++i) {
        run = free[i] ? run + 1 : 0;
        const bool ends = i + 1 == kPages || !free[i + 1];
        ASSERT_FALSE(ends && (run == pages || run >= pages + 16)) << "refused what there was";
      }
    }
  }
  for (const auto& [first, pages] : held) blocks.put(kBase + first * kPage, pages * kPage);
  EXPECT_EQ(kept(blocks), (Ranges{{kBase, kPages * kPage}}));
}

}  // namespace
}  // namespace gta
