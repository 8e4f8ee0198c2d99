// What a checkpoint of a thousand ranks lists, made by the ranks' own shares without the ranks.
#include <gtest/gtest.h>

#include "checkpoints/manifest.h"
#include "core/clock.h"
#include "core/sanitizer.h"
#include "core/shard_map.h"
#include "launch/config/config.h"
#include "launch/plan.h"

namespace gta {
namespace {

constexpr int64_t kRanks = 1024;

RunConfig run_of(const std::string& model, std::vector<std::string> overrides = {}) {
  overrides.insert(overrides.end(), {"train.global_batch_size=2048", "train.micro_batch_size=1",
                                     "data.sequence_length=2048", "model.vocab_size=32000"});
  return load_planned_config(GTA_SOURCE_DIR "/configs/models/" + model, overrides, kRanks);
}

// What each rank would say of its file.
std::vector<RankFile> files_of(const RunConfig& run) {
  ParameterLayout layout = layout_of(run.model);
  arrange_for(layout, run.train, kRanks);
  const ShardMap map(layout, Sharding::Optimizer, kRanks);
  std::vector<RankFile> files(kRanks);
  for (int64_t rank = 0; rank < kRanks; ++rank) {
    RankFile& file = files[static_cast<size_t>(rank)];
    file.file.name = rank_file_name(rank, kRanks);
    const auto add = [&](ManifestEntry entry) {
      entry.file = file.file.name;
      entry.offset = file.file.bytes;
      entry.hash = 0x123456789abcdef0 + static_cast<uint64_t>(file.file.bytes);
      file.file.bytes += entry.bytes();
      file.entries.push_back(std::move(entry));
    };
    if (rank == 0) add({kTokenizerPart, "", {500000}, DType::U8, 0, 500000, "", 0, 0});
    const std::vector<FlatRange> owned = map.owned(rank);
    for (const char* part : {"master", "exp_avg", "exp_avg_sq"})
      for (const Parameter& parameter : layout.parameters())
        for (const FlatRange& range : intersections(owned, parameter.range()))
          add({part,
               parameter.name,
               {parameter.shape.begin(), parameter.shape.end()},
               DType::F32,
               range.first - parameter.offset,
               range.count,
               "",
               0,
               0});
  }
  return files;
}

Manifest manifest_of(const std::vector<RankFile>& files) {
  Manifest manifest;
  manifest.world_size = kRanks;
  for (const RankFile& file : files) {
    manifest.files.push_back(file.file);
    manifest.entries.insert(manifest.entries.end(), file.entries.begin(), file.entries.end());
  }
  return manifest;
}

// A rank's word to the lead, the manifest, and its reading, which is each rank's: the times are for docs/scaling.md.
void expect_listed(const char* name, const RunConfig& run) {
  ASSERT_EQ(too_many_ranges(run, kRanks), "");
  const std::vector<RankFile> files = files_of(run);
  const Clock::time_point start = Clock::now();
  size_t said = 0;
  std::vector<RankFile> heard;
  for (const RankFile& file : files) {
    const std::string text = to_json(file);
    said += text.size();
    heard.push_back(parse_rank_file(text, "a rank"));
  }
  const double told = seconds_since(start);
  Manifest manifest = manifest_of(heard);
  const std::string text = to_json(manifest);
  const double written = seconds_since(start);
  const Manifest read = parse_manifest(text, "manifest.json");
  const double parsed = seconds_since(start);
  EXPECT_EQ(what_is_missing(read), "");
  const double checked = seconds_since(start);
  EXPECT_LE(static_cast<int64_t>(read.entries.size()), kMostRanges);
  EXPECT_LE(static_cast<int64_t>(text.size()), kMostManifestBytes);
  std::printf(
      "  %s, bucket_mib %ld: %zu ranges, ranks say %.0f MB, manifest %.0f MB; heard %.2f s, written %.2f s, "
      "read %.2f s, checked %.2f s\n",
      name, static_cast<long>(bucket_mib_of(run.train, kRanks)), read.entries.size(), static_cast<double>(said) / 1e6,
      static_cast<double>(text.size()) / 1e6, told, written - told, parsed - written, checked - parsed);
  manifest.entries.erase(manifest.entries.begin() + static_cast<std::ptrdiff_t>(manifest.entries.size() / 2));
  EXPECT_NE(what_is_missing(manifest), "");
}

const std::vector<std::string> kSevenBillion = {"model.hidden_size=4096",
                                                "model.layers=34",
                                                "model.intermediate_size=12288",
                                                "model.heads=32",
                                                "model.head_dim=128",
                                                "model.attention.query_heads=8",
                                                "model.attention.latent_dim=256"};

TEST(ManyRanks, TheirCheckpointIsListed) {
  expect_listed("GTA-1B", run_of("gta-1b.yaml"));
  expect_listed("7 billion", run_of("gta-1b.yaml", kSevenBillion));
  if (!kAddressSanitizer && !kThreadSanitizer) expect_listed("GTA-1B", run_of("gta-1b.yaml", {"train.bucket_mib=32"}));
}

TEST(ManyRanks, MoreRangesThanAManifestHoldsAreRefusedWithTheBucketsThatItDoes) {
  std::vector<std::string> overrides = kSevenBillion;
  overrides.insert(overrides.end(), {"model.layers=120", "train.bucket_mib=1"});
  const std::string problem = too_many_ranges(run_of("gta-1b.yaml", overrides), kRanks);
  EXPECT_NE(problem.find("1 cuts the parameters and moments of 1024 ranks into "), std::string::npos) << problem;
  ASSERT_NE(problem.find("expected "), std::string::npos);
  const std::string enough = problem.substr(problem.rfind("expected ") + 9);
  overrides.back() = "train.bucket_mib=" + enough.substr(0, enough.find(' '));
  EXPECT_EQ(too_many_ranges(run_of("gta-1b.yaml", overrides), kRanks), "") << overrides.back();
  overrides.back() = "train.bucket_mib=" + std::to_string(std::stoll(enough) / 2);
  EXPECT_NE(too_many_ranges(run_of("gta-1b.yaml", overrides), kRanks), "") << overrides.back();
}

}  // namespace
}  // namespace gta
