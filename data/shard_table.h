// A table of uint64 in a shard's file, of which memory holds 16 bytes for every 4 KiB.
//
// It is read once, whole, as the shard is opened: to hash it, and to keep the hash and the first entry of each chunk of
// 512. Later its entries are read from the file again, chunk by chunk, and checked against those hashes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"

namespace gta {

class ShardTable {
 public:
  ShardTable() = default;
  // Error(BadInput) when the dataset is no list of uint64. `see` is given all entries in order, piece by piece, as they
  // are hashed.
  ShardTable(
      const File& file, const hdf5::Dataset& dataset, Hasher& hasher,
      const std::function<void(std::span<const uint64_t>)>& see = [](std::span<const uint64_t>) {});

  int64_t size() const { return size_; }
  // Entries [first, first + count), 0 <= first, first + count <= size(). Error(BadInput) when they are not those that
  // were hashed.
  std::vector<uint64_t> read(const File& file, int64_t first, int64_t count) const;
  // Of an ascending table: the first entry that is not less than `value`, or size().
  int64_t lower_bound(const File& file, uint64_t value) const;

 private:
  std::vector<uint64_t> read_chunk(const File& file, int64_t chunk) const;

  int64_t offset_ = 0, size_ = 0;
  std::vector<uint64_t> hashes_, firsts_;  // of the chunks
};

}  // namespace gta
