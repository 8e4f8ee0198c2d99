#include "core/parameter_layout.h"

#include <gtest/gtest.h>

#include <random>

#include "core/error.h"
#include "core/flat_buffer.h"
#include "core/shard_map.h"

namespace gta {
namespace {

// Groups of one to three parameters of odd sizes, matrices and vectors in turn by chance.
ParameterLayout some_layout(uint64_t seed, int64_t groups) {
  std::mt19937_64 random(seed);
  const auto up_to = [&](int64_t most) { return 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(most)); };
  ParameterLayout layout;
  for (int64_t g = 0; g < groups; ++g) {
    const bool matrix = random() % 3 > 0;
    const int64_t columns = up_to(9), parameters = up_to(3);
    std::vector<ParameterSpec> merged;
    for (int64_t i = 0; i < parameters; ++i)
      merged.push_back({std::to_string(g) + "." + std::to_string(i),
                        matrix ? Shape{up_to(40), columns} : Shape{up_to(40)}, Initializer::zeros()});
    layout.add(merged);
  }
  return layout;
}

TEST(ParameterLayout, OneRankHasGroupsWhereTheyWereDeclared) {
  ParameterLayout layout = some_layout(1, 20);
  const std::vector<Parameter> before = layout.parameters();
  const int64_t matrices = layout.flat_size(ParameterKind::Matrix), vectors = layout.flat_size(ParameterKind::Vector);
  for (int64_t bucket : {int64_t{1}, int64_t{300}, int64_t{1} << 40}) {
    layout.arrange(bucket, 1);
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(layout.parameters()[i].offset, before[i].offset);
    EXPECT_EQ(layout.flat_size(ParameterKind::Matrix), matrices);
    EXPECT_EQ(layout.flat_size(ParameterKind::Vector), vectors);
  }
}

TEST(ParameterLayout, BucketsAreRunsOfWholeGroupsFromTheLastDeclaredToTheFirst) {
  for (uint64_t seed = 1; seed <= 20; ++seed)
    for (int64_t ranks : {1, 2, 3, 8}) {
      SCOPED_TRACE(fmt::format("seed {}, {} ranks", seed, ranks));
      ParameterLayout layout = some_layout(seed, 25);
      constexpr int64_t kElements = 400;
      layout.arrange(kElements, ranks);
      const std::vector<FlatRange>& buckets = layout.buckets();
      // They tile the space of the matrices, the last first, and the vectors' is all of those.
      int64_t end = layout.flat_size(ParameterKind::Matrix);
      for (size_t b = 0; b + 1 < buckets.size(); ++b) {
        EXPECT_EQ(buckets[b].end(), end);
        EXPECT_GT(buckets[b].count, 0);
        end = buckets[b].first;
      }
      EXPECT_EQ(end, 0);
      EXPECT_EQ(buckets.back(), layout.whole(ParameterKind::Vector));
      std::vector<int64_t> filled(buckets.size());
      int64_t last = 0;
      for (auto group = layout.groups().rbegin(); group != layout.groups().rend(); ++group) {
        const FlatRange& bucket = buckets[static_cast<size_t>(group->bucket)];
        EXPECT_EQ(intersection(bucket, group->range), group->range);
        EXPECT_EQ(group->range.first % 16, 0);
        if (group->range.kind == ParameterKind::Vector) continue;
        EXPECT_TRUE(group->bucket == last || group->bucket == last + 1);
        last = group->bucket;
        EXPECT_LT(filled[static_cast<size_t>(last)], kElements) << "it was full already";
        filled[static_cast<size_t>(last)] += group->range.count;
      }
      for (size_t b = 0; b + 2 < buckets.size(); ++b) EXPECT_GE(filled[b], kElements) << "closed too early";
    }
}

TEST(ShardMap, OwnersHaveEveryElementOnceInSlicesOfWhole64Bytes) {
  for (uint64_t seed = 1; seed <= 20; ++seed)
    for (Sharding sharding : {Sharding::None, Sharding::Optimizer})
      for (int64_t ranks : {1, 2, 3, 8}) {
        SCOPED_TRACE(fmt::format("seed {}, {} ranks", seed, ranks));
        ParameterLayout layout = some_layout(seed, 25);
        layout.arrange(400, ranks);
        const ShardMap map(layout, sharding, ranks);
        std::array<std::vector<int>, 2> owners, updaters;
        for (ParameterKind kind : kParameterKinds) {
          owners[static_cast<size_t>(kind)].resize(static_cast<size_t>(layout.flat_size(kind)));
          updaters[static_cast<size_t>(kind)] = owners[static_cast<size_t>(kind)];
        }
        for (int64_t rank = 0; rank < ranks; ++rank) {
          const std::vector<FlatRange> owned = map.owned(rank), updated = map.updated(rank);
          for (const auto& [ranges, counts] : {std::pair(&owned, &owners), {&updated, &updaters}})
            for (const FlatRange& range : *ranges)
              for (int64_t i = range.first; i < range.end(); ++i)
                ++(*counts)[static_cast<size_t>(range.kind)][static_cast<size_t>(i)];
          for (const FlatRange& range : owned) {
            int64_t inside = 0;
            for (const FlatRange& update : updated) inside += intersection(range, update).count;
            EXPECT_EQ(inside, range.count) << "what a rank owns it updates";
          }
          if (ranks == 1) continue;
          for (size_t b = 0; b + 1 < layout.buckets().size(); ++b) {
            const FlatRange slice = map.slice(static_cast<int64_t>(b), rank);
            EXPECT_EQ(slice.count * ranks, layout.buckets()[b].count);
            EXPECT_EQ(slice.count % 16, 0);
            EXPECT_EQ(slice.first % 16, 0);
          }
        }
        for (const auto& of_kind : owners)
          for (int count : of_kind) ASSERT_EQ(count, 1);
        for (int count : updaters[0]) ASSERT_EQ(count, sharding == Sharding::None ? ranks : 1);
        for (int count : updaters[1]) ASSERT_EQ(count, ranks);
      }
}

TEST(ShardMap, RefusesALayoutOfOtherRanks) {
  ParameterLayout layout = some_layout(3, 9);
  layout.arrange(100, 2);
  EXPECT_THROW(ShardMap(layout, Sharding::Optimizer, 7), Error);
  EXPECT_THROW(layout.arrange(0, 2), Error);
  EXPECT_THROW(layout.arrange(100, 0), Error);
}

TEST(FlatBuffer, GivesTheHeldPartsOfAParameter) {
  ParameterLayout layout;
  layout.add({{"a", {3, 5}, Initializer::zeros()}, {"b", {4, 5}, Initializer::zeros()}});
  layout.add({{"v", {6}, Initializer::zeros()}});
  FlatBuffer buffer({{ParameterKind::Matrix, 10, 8}, {ParameterKind::Matrix, 30, 5}}, DType::F64, {},
                    Purpose::Workspace);
  for (size_t i : {size_t{0}, size_t{1}})
    buffer.tensor(i).copy_from(
        Tensor::from<double>({buffer.ranges()[i].count}, i == 0 ? std::vector<double>{10, 11, 12, 13, 14, 15, 16, 17}
                                                                : std::vector<double>{30, 31, 32, 33, 34}));
  const auto held = [&](const char* name) { return intersections(buffer.ranges(), layout.find(name).range()); };
  const std::vector<FlatRange> a = held("a"), b = held("b");
  ASSERT_EQ(a.size(), 1u);
  EXPECT_EQ(a[0].first - layout.find("a").offset, 10);
  EXPECT_EQ(to_doubles(buffer.slice(a[0])), (std::vector<double>{10, 11, 12, 13, 14}));
  ASSERT_EQ(b.size(), 2u);
  EXPECT_EQ(b[0].first - layout.find("b").offset, 0);
  EXPECT_EQ(to_doubles(buffer.slice(b[0])), (std::vector<double>{15, 16, 17}));
  EXPECT_EQ(b[1].first - layout.find("b").offset, 15);
  EXPECT_EQ(to_doubles(buffer.slice(b[1])), (std::vector<double>{30, 31, 32, 33, 34}));
  EXPECT_TRUE(held("v").empty());
  EXPECT_EQ(to_doubles(buffer.slice({ParameterKind::Matrix, 31, 2})), (std::vector<double>{31, 32}));
  EXPECT_THROW(buffer.slice({ParameterKind::Matrix, 17, 2}), Error);
  EXPECT_THROW(buffer.slice({ParameterKind::Vector, 0, 1}), Error);
  EXPECT_THROW(buffer.whole(ParameterKind::Matrix), Error) << "of a part";
  EXPECT_THROW(buffer.whole(ParameterKind::Vector), Error);
}

}  // namespace
}  // namespace gta
