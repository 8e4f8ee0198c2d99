#include "data/shard_table.h"

#include <algorithm>

#include "core/error.h"

namespace gta {
namespace {

constexpr int64_t kChunk = 512;               // entries
constexpr int64_t kChunksAtOnce = 256;        // 1 MiB
constexpr int64_t kEntry = sizeof(uint64_t);  // bytes

}  // namespace

ShardTable::ShardTable(const File& file, const hdf5::Dataset& dataset, Hasher& hasher,
                       const std::function<void(std::span<const uint64_t>)>& see)
    : offset_(dataset.offset), size_(dataset.elements()) {
  if (dataset.dtype != DType::U64 || dataset.shape.size() != 1)
    bad_input(file.path(), "{} is {} of rank {}: expected a list of uint64", dataset.name, name_of(dataset.dtype),
              dataset.shape.size());
  hashes_.reserve((size_ + kChunk - 1) / kChunk);
  firsts_.reserve(hashes_.capacity());
  std::vector<uint64_t> entries;
  for (int64_t first = 0; first < size_; first += kChunk * kChunksAtOnce) {
    entries.resize(std::min(kChunk * kChunksAtOnce, size_ - first));
    file.read_at(entries.data(), static_cast<int64_t>(entries.size()) * kEntry, offset_ + first * kEntry);
    hasher.update(entries.data(), entries.size() * kEntry);
    see(entries);
    for (size_t at = 0; at < entries.size(); at += kChunk) {
      hashes_.push_back(hash_bytes(entries.data() + at, std::min<size_t>(kChunk, entries.size() - at) * kEntry));
      firsts_.push_back(entries[at]);
    }
  }
}

std::vector<uint64_t> ShardTable::read_chunk(const File& file, int64_t chunk) const {
  std::vector<uint64_t> entries(std::min(kChunk, size_ - chunk * kChunk));
  file.read_at(entries.data(), static_cast<int64_t>(entries.size()) * kEntry, offset_ + chunk * kChunk * kEntry);
  if (hash_bytes(entries.data(), entries.size() * kEntry) != hashes_[chunk])
    bad_input(file.path(),
              "is damaged: its tables are not those that were there when it was opened; write the shard again");
  return entries;
}

std::vector<uint64_t> ShardTable::read(const File& file, int64_t first, int64_t count) const {
  std::vector<uint64_t> entries;
  entries.reserve(count);
  while (count > 0) {
    const std::vector<uint64_t> chunk = read_chunk(file, first / kChunk);
    const int64_t within = first % kChunk, taken = std::min(count, static_cast<int64_t>(chunk.size()) - within);
    entries.insert(entries.end(), chunk.begin() + within, chunk.begin() + within + taken);
    first += taken;
    count -= taken;
  }
  return entries;
}

int64_t ShardTable::lower_bound(const File& file, uint64_t value) const {
  // Entries less than `value` begin all chunks before this one, so it is in the last of them, or begins this one.
  const int64_t after = std::lower_bound(firsts_.begin(), firsts_.end(), value) - firsts_.begin();
  if (after == 0) return 0;
  const std::vector<uint64_t> chunk = read_chunk(file, after - 1);
  return (after - 1) * kChunk + (std::lower_bound(chunk.begin(), chunk.end(), value) - chunk.begin());
}

}  // namespace gta
