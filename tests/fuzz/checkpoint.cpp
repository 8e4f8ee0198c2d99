// A checkpoint: up to the first zero byte what the manifest says, or what a rank says of its file; after it the file of
// rank 0. The JSON's hash of itself is made to hold, since otherwise nothing behind it would ever be reached.
#include "checkpoints/manifest.h"
#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_checkpoint(const std::string& bytes) {
  taken([&] { parse_manifest(bytes, "manifest.json"); });
  taken([&] { parse_rank_file(bytes, "rank 0"); });

  const std::string inner = bytes.substr(0, bytes.find('\0'));
  const std::string rank = inner.size() < bytes.size() ? bytes.substr(inner.size() + 1) : "";
  const std::string manifest = sealed("manifest", inner);
  const bool rank_file = taken([&] {
    const RankFile file = parse_rank_file(sealed("rank_file", inner), "rank 0");
    for (const ManifestEntry& entry : file.entries)
      expect(entry.file == file.file.name && entry.offset + entry.bytes() <= file.file.bytes,
             "a range lies outside its file");
  });
  const std::string folder = scratch_folder("checkpoint");
  scratch_file("checkpoint/manifest.json", manifest);
  scratch_file("checkpoint/rank-0000-of-0001.h5", rank);
  return rank_file | taken([&] {
           const Checkpoint checkpoint = Checkpoint::open(folder);
           for (const ManifestEntry& entry : checkpoint.entries())
             expect(entry.offset + entry.bytes() <= static_cast<int64_t>(bytes.size()),
                    "a range lies outside its file");
           taken([&] { checkpoint.tokenizer(); });
           // Every range as it is in the file, and one that is not there.
           std::vector<std::vector<char>> memory;
           std::vector<StateRange> ranges;
           for (const ManifestEntry& entry : checkpoint.entries()) {
             taken([&] {
               expect(checkpoint.read(entry).size() == static_cast<size_t>(entry.bytes()), "a range lacks bytes");
             });
             memory.emplace_back(static_cast<size_t>(entry.bytes()));
             ranges.push_back({entry.part, entry.parameter, entry.shape, entry.dtype, entry.first, entry.count,
                               memory.back().data()});
           }
           taken([&] { checkpoint.load(ranges); });
           char one[8] = {};
           taken([&] { checkpoint.load({{"master", "model.norm.weight", {1}, DType::F32, 0, 1, one}}); });
           checkpoint.verify();
         });
}

}  // namespace gta::fuzz
