// One pass over a checkpoint's file that hashes the whole, compares every range in it, and hands the bytes on as they
// come.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"

namespace gta {

[[noreturn]] void refuse_hash(const std::string& folder, const ManifestEntry& entry);

// `bytes` bytes of an entry, from its byte `offset` on. Whether they are right shows at the entry's end.
using TakeBytes = std::function<void(const ManifestEntry& entry, int64_t offset, const char* data, int64_t bytes)>;

// xxh3 of FOLDER/file.name (file.bytes long). Error(BadInput) names the first range in it that does not have its hash.
// The entries in one file must not overlap.
uint64_t hash_checked(const std::string& folder, const ManifestFile& file, const std::vector<ManifestEntry>& entries,
                      const TakeBytes& take = {});

}  // namespace gta
