#include "checkpoints/range_hashes.h"

#include <algorithm>
#include <optional>

#include "core/io/file.h"
#include "core/io/hash.h"

namespace gta {

void refuse_hash(const std::string& folder, const ManifestEntry& entry) {
  bad_input(folder, "is damaged: {} {} (elements {} to {}) does not have its hash", entry.part, entry.parameter,
            entry.first, entry.first + entry.count);
}

uint64_t hash_checked(const std::string& folder, const ManifestFile& file, const std::vector<ManifestEntry>& entries,
                      const TakeBytes& take) {
  std::vector<const ManifestEntry*> inside;
  for (const ManifestEntry& entry : entries)
    if (entry.file == file.name) inside.push_back(&entry);
  std::sort(inside.begin(), inside.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });

  const File opened(folder + "/" + file.name, File::Mode::Read);
  std::vector<char> piece(4 << 20);
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
      if (first < last) {
        range->update(piece.data() + (first - begin), static_cast<size_t>(last - first));
        if (take) take(**entry, first - (*entry)->offset, piece.data() + (first - begin), last - first);
      }
      if (entry_end > end) break;  // goes on in the next piece
      if (range->digest() != (*entry)->hash) refuse_hash(folder, **entry);
      range.emplace();
    }
  }
  return whole.digest();
}

}  // namespace gta
