#include "checkpoints/range_hashes.h"

#include <algorithm>
#include <optional>

#include "core/io/hash.h"

namespace gta {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;  // what is hashed is still in cache when it is taken

void check_hash(const std::string& folder, const ManifestEntry& entry, const Hasher& found) {
  if (found.digest() != entry.hash)
    bad_input(folder, "is damaged: {} {} (elements {} to {}) does not have its hash", entry.part, entry.parameter,
              entry.first, entry.first + entry.count);
}

}  // namespace

void read_checked(const std::string& folder, const File& file, const ManifestEntry& entry, const TakeBytes& take) {
  const int64_t bytes = entry.bytes();
  std::vector<char> piece(static_cast<size_t>(std::min(bytes, kPieceBytes)));
  Hasher hasher;
  for (int64_t begin = 0; begin < bytes; begin += kPieceBytes) {
    const int64_t count = std::min(kPieceBytes, bytes - begin);
    file.read_at(piece.data(), count, entry.offset + begin);
    hasher.update(piece.data(), static_cast<size_t>(count));
    take(begin, piece.data(), count);
  }
  check_hash(folder, entry, hasher);
}

uint64_t hash_checked(const std::string& folder, const ManifestFile& file, const std::vector<ManifestEntry>& entries) {
  std::vector<const ManifestEntry*> inside;
  for (const ManifestEntry& entry : entries)
    if (entry.file == file.name) inside.push_back(&entry);
  std::sort(inside.begin(), inside.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });

  const File opened(folder + "/" + file.name, File::Mode::Read);
  std::vector<char> piece(kPieceBytes);
  Hasher whole;
  std::optional<Hasher> range(std::in_place);
  auto entry = inside.begin();
  for (int64_t begin = 0; begin < file.bytes; begin += static_cast<int64_t>(piece.size())) {
    const int64_t end = std::min(begin + static_cast<int64_t>(piece.size()), file.bytes);
    opened.read_at(piece.data(), end - begin, begin);
    whole.update(piece.data(), static_cast<size_t>(end - begin));
    for (; entry != inside.end(); ++entry) {
      const int64_t entry_end = (*entry)->offset + (*entry)->bytes();
      const int64_t first = std::max((*entry)->offset, begin), last = std::min(entry_end, end);
      if (first < last) range->update(piece.data() + (first - begin), static_cast<size_t>(last - first));
      if (entry_end > end) break;  // goes on in the next piece
      check_hash(folder, **entry, *range);
      range.emplace();
    }
  }
  return whole.digest();
}

}  // namespace gta
